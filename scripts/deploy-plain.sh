#!/usr/bin/env bash
# Brings the rendered manifests onto any Kubernetes with Gateway API and Istio ambient, without OpenChoreo.
# STAGE=open|mtls|zero-trust (default zero-trust). The gateway gateway-default in openchoreo-data-plane is made too.
. "$(dirname "$0")/lib.sh"
KUBE_CONTEXT=${KUBE_CONTEXT-}
usage_if_asked "$@"
STAGE=${STAGE:-zero-trust}
[[ $STAGE =~ ^(open|mtls|zero-trust)$ ]] || die "STAGE is '$STAGE': it takes open, mtls or zero-trust"
reachable

apply() { k apply --server-side --force-conflicts --field-manager=artemis "$@" >/dev/null; }
step "namespaces"
namespace "$DATA_PLANE"
apply -f k3d/gateway-plain.yaml
for cell in "${CELLS[@]}"; do apply -f "openchoreo/rendered/$cell/cell.yaml"; done
step "the mesh's objects"
apply -f istio/cells
step "the services"
apply -R -f openchoreo/rendered
[[ $STAGE == zero-trust ]] || { step "stage $STAGE"; apply -f "istio/stages/$STAGE"; }

[[ -z ${WITHOUT_PODS:-} ]] || exit 0
while read -r ns; do
  step "$ns"
  wait_for "$ns" condition=Available deployment --all
done < <(cell_namespaces)
