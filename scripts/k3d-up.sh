#!/usr/bin/env bash
# Makes the cluster: k3d, Gateway API, Istio ambient, cert-manager, OpenChoreo's control plane and data plane.
# Every step looks first whether it is done, so the same command goes on after an interruption and repairs a half-made cluster.
# PROFILE=full adds OpenChoreo's API, portal and identity provider; the default is lean. ISTIO_PLATFORM=k3s where k3d's CNI paths differ.
# Without the internet: IMAGES="FILE.tar ..." are loaded into Docker and into the cluster, CHARTS=DIR has the charts (base, istiod, cni,
# ztunnel, cert-manager, openchoreo-control-plane, openchoreo-data-plane: folders or .tgz), GATEWAY_API_CRDS=FILE the Gateway API's kinds.
. "$(dirname "$0")/lib.sh"
usage_if_asked "$@"

PROFILE=${PROFILE:-lean}
[[ $PROFILE == lean || $PROFILE == full ]] || die "PROFILE is '$PROFILE': it takes lean or full"
ISTIO_PLATFORM=${ISTIO_PLATFORM:-k3d}
ISTIO_CHARTS=https://istio-release.storage.googleapis.com/charts
OPENCHOREO_CHARTS=oci://ghcr.io/openchoreo/helm-charts
GATEWAY_API_CRDS=${GATEWAY_API_CRDS:-https://github.com/kubernetes-sigs/gateway-api/releases/download/$GATEWAY_API_VERSION/standard-install.yaml}
read -ra images <<<"${IMAGES:-}"
for archive in "${images[@]}"; do [[ -r $archive ]] || die "IMAGES names $archive, which cannot be read"; done

# find_chart NAME WHERE VERSION: sets chart to the arguments by which helm finds it, in CHARTS or where it is published.
find_chart() {
  case "${CHARTS:+given}$2" in
    given*) chart=("$CHARTS/$1") ;;
    oci://*) chart=("$2/$1" --version "$3") && return ;;
    *) chart=("$1" --repo "$2" --version "$3") && return ;;
  esac
  [[ -d ${chart[0]} ]] || mapfile -t chart < <(compgen -G "$CHARTS/$1-[0-9v]*.tgz")
  ((${#chart[@]} == 1)) || die "CHARTS=$CHARTS has ${#chart[@]} charts $1" "want a folder $1, or one $1-VERSION.tgz as 'helm pull' writes it"
}

scripts/preflight.sh k3d
ports=()
[[ $PROFILE == lean ]] || ports=(--port 127.0.0.1:8080:8080@loadbalancer)

grep -qF "rancher/k3s:$K3S_VERSION" k3d/cluster.yaml || die "k3d/cluster.yaml and versions.env name different versions of k3s"
for archive in "${images[@]}"; do
  step "images of $archive, into Docker"
  docker load -q -i "$archive" >/dev/null
done
if k3d cluster list "$CLUSTER" >/dev/null 2>&1; then
  step "cluster $CLUSTER exists: started if it was stopped"
  k3d cluster start "$CLUSTER" >/dev/null
  # A cluster made lean has no port for the portal.
  if [[ $PROFILE == full ]] && ! docker port "k3d-$CLUSTER-serverlb" 8080/tcp >/dev/null 2>&1; then
    k3d node edit "k3d-$CLUSTER-serverlb" --port-add 127.0.0.1:8080:8080
  fi
else
  step "cluster $CLUSTER, k3s $K3S_VERSION"
  k3d cluster create "$CLUSTER" --config k3d/cluster.yaml "${ports[@]}"
fi
reachable
wait_for default condition=Ready node --all
if ((${#images[@]})); then
  step "images of ${images[*]}, into the cluster"
  k3d image import -c "$CLUSTER" "${images[@]}" >/dev/null
fi

step "Gateway API $GATEWAY_API_VERSION"
k apply --server-side --force-conflicts -f "$GATEWAY_API_CRDS" >/dev/null
wait_for default condition=Established crd/gateways.gateway.networking.k8s.io crd/httproutes.gateway.networking.k8s.io

step "Istio $ISTIO_VERSION, ambient"
install() { # RELEASE CHART [ARG...]
  local release=$1 name=$2
  shift 2
  note "$release"
  find_chart "$name" "$ISTIO_CHARTS" "$ISTIO_VERSION"
  h upgrade --install "$release" "${chart[@]}" -n istio-system --create-namespace --wait --timeout "$WAIT" "$@" >/dev/null ||
    { explain istio-system; die "Istio's chart $name did not install" "what was seen is above"; }
}
# on_every_node DAEMONSET [HINT]: helm takes a DaemonSet of one node for ready when none of its pods is.
on_every_node() {
  k -n istio-system rollout status "daemonset/$1" --timeout="$WAIT" >/dev/null ||
    { explain istio-system; die "$1 is not ready on every node within $WAIT" "what was seen is above" "${@:2}"; }
  note "$1 is ready on every node"
}
install istio-base base
install istiod istiod -f istio/install/istiod.yaml
install istio-cni cni -f istio/install/cni.yaml --set "global.platform=$ISTIO_PLATFORM"
on_every_node istio-cni-node "it looks for k3s' CNI where k3d keeps it; where the node image has it in k3s' own place: ISTIO_PLATFORM=k3s make k3d-up"
install ztunnel ztunnel -f istio/install/ztunnel.yaml
on_every_node ztunnel

step "cert-manager $CERT_MANAGER_VERSION"
find_chart cert-manager oci://quay.io/jetstack/charts "$CERT_MANAGER_VERSION"
h upgrade --install cert-manager "${chart[@]}" -n cert-manager --create-namespace \
  --set crds.enabled=true --wait --timeout "$WAIT" >/dev/null || { explain cert-manager; die "cert-manager did not install"; }

step "OpenChoreo $OPENCHOREO_VERSION, control plane ($PROFILE)"
control_values=(-f k3d/values-control-plane.yaml)
if [[ $PROFILE == full ]]; then
  scripts/full-profile.sh
  control_values+=(-f k3d/values-control-plane-full.yaml)
fi
find_chart openchoreo-control-plane "$OPENCHOREO_CHARTS" "$OPENCHOREO_VERSION"
h upgrade --install "$CONTROL_PLANE" "${chart[@]}" -n "$CONTROL_PLANE" --create-namespace \
  "${control_values[@]}" --timeout "$WAIT" >/dev/null || { explain "$CONTROL_PLANE"; die "OpenChoreo's control plane did not install"; }
wait_for "$CONTROL_PLANE" condition=Ready certificate/cluster-gateway-ca
ca=$(k -n "$CONTROL_PLANE" get secret cluster-gateway-ca -o jsonpath='{.data.ca\.crt}' | base64 -d)
[[ -n $ca ]] || die "the Secret cluster-gateway-ca in $CONTROL_PLANE holds no ca.crt"
namespace "$DATA_PLANE"
for ns in "$CONTROL_PLANE" "$DATA_PLANE"; do
  k -n "$ns" create configmap cluster-gateway-ca --from-literal=ca.crt="$ca" --dry-run=client -o yaml | k apply --server-side --force-conflicts -f - >/dev/null
done
wait_for "$CONTROL_PLANE" condition=Available deployment --all

step "OpenChoreo $OPENCHOREO_VERSION, data plane"
find_chart openchoreo-data-plane "$OPENCHOREO_CHARTS" "$OPENCHOREO_VERSION"
h upgrade --install "$DATA_PLANE" "${chart[@]}" -n "$DATA_PLANE" \
  -f k3d/values-data-plane.yaml --timeout "$WAIT" >/dev/null || { explain "$DATA_PLANE"; die "OpenChoreo's data plane did not install"; }
wait_for "$DATA_PLANE" condition=Available deployment --all
wait_for "$DATA_PLANE" condition=Programmed gateway/gateway-default
wait_for "$DATA_PLANE" condition=Available deployment --all # the gateway's own is made by istiod, later than the chart's
k apply --server-side --force-conflicts -f istio/agent-rbac.yaml -f istio/telemetry.yaml >/dev/null

step "ready after ${SECONDS}s"
note "next: make build deploy adversary, then http://development-default.openchoreoapis.localhost:19080/flight-director-http/"
