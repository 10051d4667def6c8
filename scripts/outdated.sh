#!/usr/bin/env bash
# Shows what versions.env pins beside the newest release, where this machine can ask for it. Changes nothing.
. "$(dirname "$0")/lib.sh"
usage_if_asked "$@"
row() { printf '%-28s %-16s %s\n' "$1" "$2" "${3:-could not be asked}"; }
release() { curl -fsSL --max-time 10 -o /dev/null -w '%{url_effective}' "https://github.com/$1/releases/latest" 2>/dev/null | sed -n 's#.*/tag/##p' || true; }
row "what" "pinned" "newest"
row OpenChoreo "$OPENCHOREO_VERSION" "$(release openchoreo/openchoreo)"
row Istio "$ISTIO_VERSION" "$(release istio/istio)"
row "Gateway API" "$GATEWAY_API_VERSION" "$(release kubernetes-sigs/gateway-api)"
row k3s "$K3S_VERSION" "$(release k3s-io/k3s)"
row cert-manager "$CERT_MANAGER_VERSION" "$(release cert-manager/cert-manager)"
echo
go list -m -u -f '{{if and .Update (not .Indirect)}}{{printf "%-60s %-16s %s" .Path .Version .Update.Version}}{{end}}' all
