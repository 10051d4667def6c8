#!/usr/bin/env bash
# Takes the attacker and the mission off the cluster; Istio and OpenChoreo stay. Also what deploy-plain brought.
# WITHOUT_PODS=1 does not wait until the namespaces are gone (a bare API server has nobody who empties them).
. "$(dirname "$0")/lib.sh"
usage_if_asked "$@"
reachable
scripts/adversary.sh --out
mapfile -t namespaces < <(cell_namespaces)
step "the mission goes"
if k get crd projects.openchoreo.dev >/dev/null 2>&1; then
  for cell in "${CELLS[@]}"; do
    k -n default delete --ignore-not-found --wait=false -f "openchoreo/$cell" >/dev/null
  done
  k -n default delete --ignore-not-found --wait=false -f openchoreo/projects >/dev/null
  for ns in "${namespaces[@]}"; do
    # What deploy-plain brought belongs to no Project: OpenChoreo does not take it back.
    [[ -n $(k get namespace "$ns" --ignore-not-found -o jsonpath='{.metadata.labels.openchoreo\.dev/managed-by}{.metadata.labels.openchoreo\.dev/rendered-release-name}' 2>/dev/null) ]] ||
      k delete namespace "$ns" --ignore-not-found --wait=false >/dev/null
  done
else
  k delete --ignore-not-found --wait=false -f k3d/gateway-plain.yaml >/dev/null
  ((${#namespaces[@]} == 0)) || k delete namespace "${namespaces[@]}" --ignore-not-found --wait=false >/dev/null
fi
[[ -z ${WITHOUT_PODS:-} ]] || exit 0
if k get crd projects.openchoreo.dev >/dev/null 2>&1; then
  k -n default wait --for=delete --timeout="$WAIT" -f openchoreo/projects >/dev/null || die "a Project is still there" "kubectl -n default get projects,projectreleasebindings"
  note "the Projects"
fi
for ns in "${namespaces[@]}"; do
  k wait --for=delete "namespace/$ns" --timeout="$WAIT" >/dev/null || { explain "$ns"; die "namespace $ns is still there"; }
  note "$ns"
done
