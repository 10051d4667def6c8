#!/usr/bin/env bash
# Deletes the cluster with everything in it, its network, its volumes and its entry in the kubeconfig.
. "$(dirname "$0")/lib.sh"
usage_if_asked "$@"
command -v k3d >/dev/null || die "k3d is not installed" "https://k3d.io/stable/#installation"
if k3d cluster list "$CLUSTER" >/dev/null 2>&1; then
  k3d cluster delete "$CLUSTER"
else
  note "there is no cluster $CLUSTER"
fi
