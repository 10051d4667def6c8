#!/usr/bin/env bash
# Switches the five Cells of the cluster to a stage, without restarting a pod, and waits until the mesh follows it.
# usage: scripts/stage.sh open|mtls|zero-trust
. "$(dirname "$0")/lib.sh"
usage_if_asked "$@"
stage=${1:-}
[[ $stage =~ ^(open|mtls|zero-trust)$ ]] || die "which stage? open, mtls or zero-trust"
reachable

step "stage $stage"
for cell in "${CELLS[@]}"; do
  k -n default patch projectreleasebinding "$cell-development" --type merge -p "{\"spec\":{\"environmentConfigs\":{\"stage\":\"$stage\"}}}" >/dev/null
done
# The labels are the last thing that a Cell shows of its stage.
for cell in "${CELLS[@]}"; do
  ns=$(cell_namespace "$cell")
  deadline=$((SECONDS + 60))
  until [[ $(stage_of "$ns") == "$stage" ]]; do
    ((SECONDS < deadline)) || {
      k -n default get projectreleasebinding "$cell-development" -o yaml >&2
      die "$cell did not reach stage $stage within a minute" "its binding is above"
    }
    read -rt 0.2 <> <(:) || true
  done
  note "$cell"
done
