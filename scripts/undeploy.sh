#!/usr/bin/env bash
# Takes the attacker and the mission off the cluster; Istio and OpenChoreo stay.
. "$(dirname "$0")/lib.sh"
usage_if_asked "$@"
reachable
scripts/adversary.sh --out
step "the mission goes"
for cell in "${CELLS[@]}"; do
  k -n default delete --ignore-not-found --wait=false -f "openchoreo/$cell" >/dev/null
done
k -n default delete --ignore-not-found --wait=false -f openchoreo/projects >/dev/null
for cell in "${CELLS[@]}"; do
  # A namespace goes when its RenderedRelease has been taken back.
  while read -r ns; do
    [[ -z $ns ]] || k wait --for=delete "namespace/$ns" --timeout="$WAIT" >/dev/null || { explain "$ns"; die "namespace $ns is still there"; }
  done < <(k get namespaces -l "openchoreo.dev/project=$cell" -o jsonpath='{range .items[*]}{.metadata.name}{"\n"}{end}')
  note "$cell"
done
