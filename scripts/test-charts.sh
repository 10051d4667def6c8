#!/usr/bin/env bash
# Renders the charts with exactly the values that scripts/k3d-up.sh passes: the script itself runs, on stand-ins for Docker, k3d and
# kubectl, and each `helm upgrade` becomes `helm template` of the chart that the Go module of the pinned version carries.
# A value that the chart does not know is a failure. usage: scripts/test-charts.sh
# shellcheck disable=SC2016 # the stand-ins expand their own arguments
set -euo pipefail
cd "$(dirname "$0")/.."
[[ ${1:-} != --help && ${1:-} != -h ]] || { sed -n '2,4s/^# //p' "$0"; exit 0; }
# shellcheck source=versions.env
. ./versions.env

passed=0
ok() { passed=$((passed + 1)); printf 'ok      %s\n' "$*"; }
fail() { printf 'FAILED  %s\n' "$*" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/bin"

echo "build helm $HELM_VERSION"
CGO_ENABLED=0 GOBIN=$work go install -ldflags "-X helm.sh/helm/v3/internal/version.version=$HELM_VERSION" "helm.sh/helm/v3/cmd/helm@$HELM_VERSION"
module() { # MODULE@VERSION -> its folder
  go mod download -json "$1" | jq -er .Dir || fail "the module $1 cannot be had"
}
istio=$(module "istio.io/istio@$ISTIO_MODULE_VERSION")/manifests/charts
openchoreo=$(module "github.com/openchoreo/openchoreo@$OPENCHOREO_MODULE_VERSION")/install/helm
certmanager=$(module "github.com/cert-manager/cert-manager@$CERT_MANAGER_VERSION")/deploy/charts
export ISTIO=$istio OPENCHOREO=$openchoreo CERT_MANAGER=$certmanager WORK=$work KUBE=${K3S_VERSION%%-*}

stub() { printf '#!/bin/bash\n%s\n' "$2" >"$work/bin/$1"; chmod +x "$work/bin/$1"; }
stub docker 'case "$1" in --version) echo "Docker version 28.2.2";; info) echo "8 17179869184";; esac'
stub k3d 'echo "k3d $*" >>"$WORK/calls"; case "$1" in version) echo "k3d version v5.8.3";; cluster) [[ $2 != list ]];; esac'
stub kubectl '[[ $* != *"-f -"* ]] || cat >/dev/null
[[ -z ${NEVER_READY:-} || $* != *"rollout status daemonset/$NEVER_READY"* ]] || exit 1
case "$*" in *"version --client"*) echo "Client Version: v1.36.1";; *ca*crt*get*|*"get secret"*) printf Y2E= ;; esac'
stub helm 'exec python3 "$WORK/helm.py" "$@"'
cat >"$work/helm.py" <<'PY'
import json, os, subprocess, sys
import yaml
args, work = sys.argv[1:], os.environ["WORK"]
if args[0] == "version":
    print("v3.20.2+g1"); sys.exit()
args = [a for i, a in enumerate(args) if a != "--kube-context" and (i == 0 or args[i - 1] != "--kube-context")]
assert args[:2] == ["upgrade", "--install"], args
release, chart, rest = args[2], args[3], args[4:]
folders = {"base": "ISTIO:base", "istiod": "ISTIO:istio-control/istio-discovery", "cni": "ISTIO:istio-cni", "ztunnel": "ISTIO:ztunnel",
           "cert-manager": "CERT_MANAGER:cert-manager", "openchoreo-control-plane": "OPENCHOREO:openchoreo-control-plane",
           "openchoreo-data-plane": "OPENCHOREO:openchoreo-data-plane"}
name = chart.rsplit("/", 1)[-1]
if name not in folders:
    with open(work + "/not-rendered", "a") as f:
        f.write(name + "\n")
    sys.exit()
root, path = folders[name].split(":")
chart = os.path.join(os.environ[root], path)
keep, passed, i = [], [], 0
while i < len(rest):
    a = rest[i]
    if a in ("--repo", "--version", "--timeout"):
        i += 2
    elif a in ("--wait", "--create-namespace"):
        i += 1
    else:
        if a == "-f":
            passed.append((rest[i + 1], yaml.safe_load(open(rest[i + 1]))))
        if a == "--set":
            for pair in rest[i + 1].split(","):
                value = "x"
                for key in reversed(pair.split("=")[0].split(".")):
                    value = {key: value}
                passed.append(("--set " + pair, value))
        keep += rest[i:i + 2]
        i += 2
known = yaml.safe_load(open(chart + "/values.yaml"))
# Istio keeps its defaults one level down; `profile` and `global.platform` are read by the charts' profile template alone.
if "_internal_defaults_do_not_set" in known:
    known = known["_internal_defaults_do_not_set"]
    known = {**known, "profile": "", "global": {**(known.get("global") or {}), "platform": ""}}
unknown = []
def walk(where, got, have, path):
    # A chart's empty map and meshConfig are open: the program behind them reads them, not the chart.
    if not isinstance(got, dict) or have in ({}, None) or path == "meshConfig":
        return
    if not isinstance(have, dict):
        unknown.append(f"{where}: {path} is no map in the chart {name}")
        return
    for key, value in got.items():
        p = (path + "." if path else "") + key
        if key not in have:
            unknown.append(f"{where}: the chart {name} knows no {p}")
        else:
            walk(where, value, have[key], p)
for where, values in passed:
    walk(where, values, known, "")
if unknown:
    print("\n".join(unknown), file=sys.stderr)
    open(work + "/unknown", "a").write("\n".join(unknown) + "\n")
    sys.exit(1)
r = subprocess.run([work + "/helm", "template", release, chart, "--kube-version", os.environ["KUBE"], *keep], capture_output=True, text=True)
if r.returncode:
    print(r.stderr, file=sys.stderr)
    open(work + "/unknown", "a").write(r.stderr)
    sys.exit(1)
open(f"{work}/{release}.yaml", "w").write(r.stdout)
with open(work + "/rendered", "a") as f:
    f.write(f"{release} {sum(1 for d in yaml.safe_load_all(r.stdout) if d)}\n")
PY

up() { # PROFILE ISTIO_PLATFORM
  rm -f "$work"/*.yaml "$work/rendered" "$work/unknown" "$work/not-rendered" "$work/calls"
  PATH=$work/bin:$PATH PROFILE=$1 ISTIO_PLATFORM=$2 scripts/k3d-up.sh >"$work/log" 2>&1 ||
    fail "k3d-up with PROFILE=$1: $(cat "$work/unknown" 2>/dev/null || tail -n 5 "$work/log")"
}
has() { grep -qE -- "$2" "$work/$1.yaml" || fail "$1 is rendered without $2"; }
hasnot() { if grep -qE -- "$2" "$work/$1.yaml"; then fail "$1 is rendered with $2"; fi; }

# Without the internet: everything from files, nothing from where it is published.
mkdir "$work/offline"
: >"$work/images.tar"
for c in base istiod cni ztunnel cert-manager openchoreo-control-plane; do mkdir "$work/offline/$c"; done
: >"$work/offline/openchoreo-data-plane-1.2.3.tgz"
stub docker 'case "$1" in --version) echo "Docker version 28.2.2";; info) echo "8 17179869184";; load) echo "docker $*" >>"$WORK/calls" ;; esac'
stub helm 'case "$1" in version) echo "v3.20.2+g1" ;; *) echo "helm $*" >>"$WORK/calls" ;; esac'
offline() { PATH=$work/bin:$PATH IMAGES=$work/images.tar CHARTS=$work/offline GATEWAY_API_CRDS=$work/crds.yaml scripts/k3d-up.sh >"$work/log" 2>&1; }
rm -f "$work/calls"
offline || fail "k3d-up without the internet: $(tail -n 5 "$work/log")"
if grep -E -- '--repo|oci://|https://' "$work/calls"; then fail "k3d-up with CHARTS goes to the internet all the same"; fi
for call in "docker load -q -i $work/images.tar" "k3d image import -c artemis $work/images.tar" "$work/offline/openchoreo-data-plane-1.2.3.tgz"; do
  grep -qF -- "$call" "$work/calls" || fail "k3d-up without the internet does not: $call"
done
rm -r "$work/offline/ztunnel"
if offline; then fail "k3d-up without the chart of ztunnel succeeds"; fi
grep -q "has 0 charts ztunnel" "$work/log" || fail "a chart that is missing: $(tail -n 3 "$work/log")"
ok "without the internet: images, charts and kinds come from files, and one that is missing is named"
stub helm 'exec python3 "$WORK/helm.py" "$@"'

# helm takes a DaemonSet on one node for ready when none of its pods is: the script has to look.
for daemonset in istio-cni-node ztunnel; do
  if said=$(PATH=$work/bin:$PATH NEVER_READY=$daemonset scripts/k3d-up.sh 2>&1); then fail "k3d-up takes a $daemonset that is not ready for one that is"; fi
  [[ $said == *"$daemonset is not ready on every node"* ]] || fail "k3d-up with a $daemonset that is not ready said: $(tail -n 3 <<<"$said")"
done
ok "a DaemonSet that never gets ready stops k3d-up, which names it"

up lean k3d
[[ $(wc -l <"$work/rendered") == 7 ]] || fail "seven charts expected: $(cat "$work/rendered")"
ok "lean: $(paste -sd, "$work/rendered" | sed 's/,/ objects, /g') objects"
has istio-cni 'path: /var/lib/rancher/k3s/agent/etc/cni/net.d'
has istio-cni 'path: /bin$'
has istiod 'name: decisions'
has istiod 'PILOT_ENABLE_AMBIENT'
has cert-manager 'kind: CustomResourceDefinition'
has openchoreo-data-plane 'gatewayClassName: istio'
has openchoreo-data-plane 'port: 19080'
hasnot openchoreo-control-plane 'kind: Gateway$'
hasnot openchoreo-control-plane 'openchoreo-ui|openchoreo-api:'
ok "lean: the CNI where k3d keeps it, Istio's gateway on 19080, no portal, no gateway of the control plane"
# What a cluster has beside the mission changes no answer about it: who may call whom is as certain as without it.
make -s binaries
mkdir "$work/cluster"
cp "$work"/*.yaml "$work/cluster"
for n in istio-system cert-manager openchoreo-control-plane openchoreo-data-plane; do
  printf -- '---\napiVersion: v1\nkind: Namespace\nmetadata: {name: %s, labels: {kubernetes.io/metadata.name: %s}}\n' "$n" "$n"
done >"$work/cluster/namespaces.yaml"
who_can() { bin/artemis who-can -f openchoreo/rendered -f istio/cells "$@" -o json | jq -S '[.answers[] | del(.extent.milliseconds)]'; }
who_can >"$work/alone.json"
who_can -f "$work/cluster" >"$work/among.json" || fail "who-can with the charts' objects: something is not judged"
jq -S --slurpfile own "$work/alone.json" '[.[] | select(.to as $to | any($own[0][]; .to == $to))]' "$work/among.json" >"$work/own.json"
cmp -s "$work/alone.json" "$work/own.json" || fail "the charts' objects change who may call whom: $(diff "$work/alone.json" "$work/own.json")"
ok "who may call the $(jq length "$work/alone.json") workloads of the mission is as certain among the $(jq length "$work/among.json") of the cluster"
up lean k3s
has istio-cni 'path: /var/lib/rancher/k3s/data/cni'
ok "ISTIO_PLATFORM=k3s: the CNI in k3s' own place"
up full k3d
has openchoreo-control-plane 'openchoreo-ui'
has openchoreo-control-plane 'openchoreo-api:'
has openchoreo-control-plane 'gatewayClassName: istio'
ok "full: portal, API and their gateway; not rendered here: $(paste -sd' ' "$work/not-rendered")"
echo "$passed passed of the charts"
