#!/usr/bin/env bash
# What the portal and the identity provider of OpenChoreo need, for PROFILE=full. Called by k3d-up.sh.
# The values of OpenBao and of the identity provider are OpenChoreo's own, of exactly the pinned version.
. "$(dirname "$0")/lib.sh"
usage_if_asked "$@"
reachable
theirs=https://raw.githubusercontent.com/openchoreo/openchoreo/v$OPENCHOREO_VERSION/install/k3d/common
install() { # NAMESPACE RELEASE CHART VERSION [ARG...]
  local ns=$1 release=$2 name=$3 version=$4
  shift 4
  note "$release $version"
  h upgrade --install "$release" "$name" --version "$version" -n "$ns" --create-namespace --wait --timeout "$WAIT" "$@" >/dev/null ||
    { explain "$ns"; die "$release did not install"; }
}
step "secrets and identity provider"
install external-secrets external-secrets oci://ghcr.io/external-secrets/charts/external-secrets "$EXTERNAL_SECRETS_VERSION" --set installCRDs=true
install openbao openbao oci://ghcr.io/openbao/charts/openbao "$OPENBAO_CHART_VERSION" -f "$theirs/values-openbao.yaml"
install thunder thunder oci://ghcr.io/asgardeo/helm-charts/thunder "$THUNDER_VERSION" -f "$theirs/values-thunder.yaml"
namespace "$CONTROL_PLANE"
k apply --server-side -f k3d/full-profile.yaml >/dev/null
wait_for "$CONTROL_PLANE" condition=Ready externalsecret/backstage-secrets
