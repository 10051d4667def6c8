#!/usr/bin/env bash
# Brings the mission onto the cluster through OpenChoreo, in the order of openchoreo/apply-order, and waits until it runs.
# Run again after a change: only what changed is rolled. WITHOUT_PODS=1 stops before waiting for pods (a bare API server).
. "$(dirname "$0")/lib.sh"
usage_if_asked "$@"
reachable

step "the platform's types, the five Cells and their components"
follow_order

[[ -z ${WITHOUT_PODS:-} ]] || exit 0
for cell in "${CELLS[@]}"; do
  ns=$(cell_namespace "$cell")
  step "$cell ($ns)"
  wait_for "$ns" condition=Programmed gateway/waypoint
  # A binding is synced before its Deployment exists, and waiting for all that exist would overlook those to come.
  for file in openchoreo/"$cell"/*.yaml; do wait_until_there "$ns" deployment "openchoreo.dev/component=$(basename "$file" .yaml)"; done
  wait_for "$ns" condition=Available deployment --all
done
step "the mission runs"
note "http://development-default.openchoreoapis.localhost:19080/flight-director-http/"
