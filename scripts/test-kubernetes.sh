#!/usr/bin/env bash
# What can be shown of the Kubernetes scripts without pulling an image: their help, every refusal of the preflight, and deploy, stages,
# adversary, undeploy and deploy-plain against a real Kubernetes API with OpenChoreo's controllers and Istio's kinds. usage: scripts/test-kubernetes.sh
# shellcheck disable=SC2016 # the stubs expand their own arguments
set -euo pipefail
cd "$(dirname "$0")/.."
case "${1:-}" in
  -h | --help) sed -n '2,3s/^# //p' "$0"; exit 0 ;;
  '' | --against-the-api | --plain-against-the-api) ;;
  *) echo "test-kubernetes.sh takes no arguments" >&2; exit 2 ;;
esac

# How many Components there are, by their files.
components=$(grep -l '^kind: Component$' openchoreo/*/*.yaml | wc -l)
passed=0
ok() { passed=$((passed + 1)); printf 'ok      %s\n' "$*"; }
fail() { printf 'FAILED  %s\n' "$*" >&2; exit 1; }

# The second part runs inside the platform, see below.
if [[ ${1:-} == --against-the-api ]]; then
  export KUBE_CONTEXT='' WITHOUT_PODS=1 WAIT=2m
  stubs_order=$(mktemp)
  labels() { kubectl get namespace dp-default-orion-development-1bced798 -o jsonpath='{.metadata.labels.istio\.io/dataplane-mode}/{.metadata.labels.istio\.io/use-waypoint}'; }
  count() { kubectl get "$1" -A -l openchoreo.dev/environment=development -o name | wc -l; }

  scripts/deploy.sh >/dev/null
  ok "deploy brings up five Cells"
  for _ in $(seq 100); do [[ $(count deployments) == "$components" ]] && break; read -rt 0.3 <> <(:) || true; done
  [[ $(count deployments) == "$components" ]] || fail "$components Deployments expected, $(count deployments) found"
  ok "$components Deployments"
  generation=$(kubectl get deployments -A -o jsonpath='{range .items[*]}{.metadata.name}={.metadata.generation} {end}')
  scripts/deploy.sh >/dev/null
  ok "deploy again changes nothing and succeeds"
  for stage in open mtls zero-trust; do
    scripts/stage.sh "$stage" >/dev/null
    case "$stage" in open) want=/ ;; mtls) want=ambient/ ;; zero-trust) want=ambient/waypoint ;; esac
    [[ $(labels) == "$want" ]] || fail "stage $stage: labels $(labels), want $want"
    [[ $(bash -c '. scripts/lib.sh; stage_in_force') == "$stage" ]] || fail "stage $stage is not read from the Cells"
    ok "stage $stage, and it is read from the Cells"
  done
  kubectl -n default patch projectreleasebinding orion-development --type merge -p '{"spec":{"environmentConfigs":{"stage":"mtls"}}}' >/dev/null
  for _ in $(seq 200); do [[ $(labels) == ambient/ ]] && break; read -rt 0.3 <> <(:) || true; done
  if said=$(bash -c '. scripts/lib.sh; stage_in_force' 2>&1); then fail "Cells at different stages are taken for $said"; fi
  [[ $said == *"the Cells are at the stages"* ]] || fail "Cells at different stages: $said"
  scripts/stage.sh zero-trust >/dev/null
  ok "Cells that are at different stages are named, and brought to one"
  # The order of a switch: what the watcher saw of Orion, change by change.
  seen() { # what Orion shows now: labels, mode, and whether the L4 policy admits everybody
    printf '%s %s %s\n' "$(labels)" "$(kubectl -n dp-default-orion-development-1bced798 get peerauthentication default -o jsonpath='{.spec.mtls.mode}')" \
      "$(kubectl -n dp-default-orion-development-1bced798 get authorizationpolicy via-waypoint-only -o jsonpath='{.spec.rules}' | grep -qx '\[{}\]' && echo everybody || echo waypoint)"
  }
  : >"$stubs_order"
  (while [[ -e $stubs_order ]]; do seen >>"$stubs_order.seen"; done) &
  scripts/stage.sh open >/dev/null
  scripts/stage.sh zero-trust >/dev/null
  rm "$stubs_order"
  wait
  # Nobody is demanded to go a way that is not there: STRICT only with the label, the waypoint's rule only with its label.
  if grep -E '^/ STRICT|^(/|ambient/) [A-Z]+ waypoint' "$stubs_order.seen"; then fail "a switch demands the new way before it is there, or takes it away while it is demanded"; fi
  for step in '^ambient/ PERMISSIVE everybody' '^ambient/waypoint STRICT everybody'; do
    grep -q "$step" "$stubs_order.seen" || fail "a switch has skipped the step '$step': $(sort "$stubs_order.seen" | uniq -c)"
  done
  rm "$stubs_order.seen"
  ok "a switch changes labels and rules in the order that loses nobody's call"
  [[ $generation == "$(kubectl get deployments -A -o jsonpath='{range .items[*]}{.metadata.name}={.metadata.generation} {end}')" ]] || fail "a stage has changed a Deployment"
  ok "no Deployment was changed by deploy again or by a stage"
  if scripts/stage.sh closed >/dev/null 2>&1; then fail "stage closed was accepted"; fi
  ok "a stage that does not exist is refused"
  scripts/adversary.sh >/dev/null
  [[ $(kubectl get deployments -A -o name -l '!openchoreo.dev/component' | wc -l) -ge 9 ]] || fail "the attacker's pods are missing"
  ok "the attacker moves in"
  # A gateway that writes down what it is told.
  told=$(mktemp)
  python3 -c '
import http.server, socketserver, sys
class Gateway(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        with open(sys.argv[1], "a") as told: print(self.headers["Host"], self.path, body, file=told)
        self.send_response(200); self.end_headers()
    def log_message(self, *words): pass
server = socketserver.TCPServer(("127.0.0.1", 0), Gateway)
print(server.server_address[1], flush=True)
server.serve_forever()' "$told" >"$told.port" &
  gateway=$!
  until [[ -s $told.port ]]; do read -rt 0.1 <> <(:) || true; done
  URL=http://127.0.0.1:$(<"$told.port") scripts/stage.sh mtls >/dev/null
  kill "$gateway"
  want=$(printf 'development-default.openchoreoapis.localhost /adversary-console-http/stage {"stage":"%s"}\n' "" mtls)
  [[ $(<"$told") == "$want" ]] || fail "the attacker's console was told: $(<"$told")"
  [[ $(URL=http://127.0.0.1:9 scripts/stage.sh zero-trust 2>&1) == *"console was not told"* ]] || fail "a console that cannot be told is not named"
  rm "$told" "$told.port"
  ok "a switch tells the attacker's console, before and after"
  # Cut off in the middle of a change, and run again.
  kubectl -n default delete --timeout=60s -f openchoreo/houston/capcom.yaml >/dev/null
  for _ in $(seq 200); do [[ $(count deployments) == $((components - 1)) ]] && break; read -rt 0.3 <> <(:) || true; done
  [[ $(count deployments) == $((components - 1)) ]] || fail "capcom is still there"
  timeout -s KILL 2 scripts/deploy.sh >/dev/null 2>&1 || true
  scripts/deploy.sh >/dev/null
  for _ in $(seq 200); do [[ $(count deployments) == "$components" ]] && break; read -rt 0.3 <> <(:) || true; done
  [[ $(count deployments) == "$components" ]] || fail "after an interruption: $components Deployments expected, $(count deployments) found"
  ok "deploy goes on where it was cut off"
  # There is no namespace controller here: what is asked for is that everything of ours goes or is asked to go.
  timeout 120 scripts/undeploy.sh >/dev/null
  left() {
    kubectl -n default get components,releasebindings -o name
    kubectl -n default get projects,projectreleasebindings -o json | jq -r '.items[] | select(.metadata.deletionTimestamp == null) | .kind + "/" + .metadata.name'
    kubectl get deployments -A -l openchoreo.dev/environment=development -o name
  }
  for _ in $(seq 200); do [[ -z $(left) ]] && break; read -rt 0.3 <> <(:) || true; done
  [[ -z $(left) ]] || fail "undeploy leaves $(left | tr '\n' ' ')"
  ok "undeploy leaves no Component and no Deployment, and no Project that is not asked to go"
  echo "$passed passed against the API"
  exit 0
fi

if [[ ${1:-} == --plain-against-the-api ]]; then
  export KUBE_CONTEXT='' WITHOUT_PODS=1 WAIT=2m
  for stage in open mtls zero-trust; do STAGE=$stage scripts/deploy-plain.sh >/dev/null || fail "deploy-plain at $stage"; done
  [[ $(kubectl get deployments -A -l openchoreo.dev/environment=development -o name | wc -l) == "$components" ]] || fail "deploy-plain: $components Deployments expected"
  [[ $(kubectl get authorizationpolicies -A -o name | wc -l) == "$(cat istio/cells/*.yaml | grep -c '^kind: AuthorizationPolicy')" ]] || fail "deploy-plain: policies are missing"
  ok "deploy-plain, at each stage in turn, without OpenChoreo's doing"
  if STAGE=closed scripts/deploy-plain.sh >/dev/null 2>&1; then fail "deploy-plain took the stage closed"; fi
  ok "deploy-plain refuses a stage that does not exist"
  scripts/undeploy.sh >/dev/null
  [[ -z $(kubectl get namespaces -l openchoreo.dev/environment=development -o jsonpath='{range .items[?(@.status.phase!="Terminating")]}{.metadata.name} {end}') ]] || fail "undeploy leaves namespaces of deploy-plain"
  ok "undeploy asks every namespace of deploy-plain to go"
  echo "$passed passed against the API, without OpenChoreo"
  exit 0
fi

for script in scripts/*.sh; do
  [[ $script == scripts/lib.sh ]] && continue
  help=$("$script" --help 2>&1) || fail "$script --help"
  [[ ${#help} -gt 40 ]] || fail "$script --help says nothing"
done
ok "every script has a help"

stubs=$(mktemp -d)
trap 'rm -rf "$stubs"' EXIT
stub() { printf '#!/bin/sh\n%s\n' "$2" >"$stubs/$1"; chmod +x "$stubs/$1"; }
good() {
  stub docker 'case "$1" in --version) echo "Docker version 28.2.2";; info) echo "8 17179869184";; esac'
  stub k3d 'case "$1" in version) echo "k3d version v5.8.3";; *) exit 1;; esac'
  stub kubectl 'echo "Client Version: v1.36.1"'
  stub helm 'echo "v3.20.2+g1"'
}
# preflight WANTED-STATUS TEXT NAME [WHAT-FOR]
preflight() {
  local said status=0
  said=$(PATH=$stubs:/usr/bin:/bin scripts/preflight.sh "${4:-k3d}" 2>&1) || status=$?
  [[ $status == "$1" && $said == *"$2"* ]] || fail "preflight, $3: status $status, said: $said"
  ok "preflight: $3"
}
# held PORT: something listens there, with whatever is done meanwhile
held() {
  rm -f "$stubs/port"
  python3 -c 'import socket, sys; s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(("127.0.0.1", int(sys.argv[1]))); s.listen(); print("up", flush=True); sys.stdin.read()' "$1" < <(sleep 30) >"$stubs/port" &
  holder=$!
  for _ in $(seq 50); do [[ -s $stubs/port ]] && return; read -rt 0.1 <> <(:) || true; done
  fail "port $1 cannot be held"
}
good && preflight 0 "all there" "a machine that is ready"
good && stub helm 'echo v3.9.0' && preflight 1 "helm 3.9.0 is too old, it takes 3.12 or newer" "a tool that is too old"
good && rm "$stubs/k3d" && preflight 1 "k3d is not installed (version 5.8 or newer)" "a tool that is missing"
good && stub docker 'case "$1" in --version) echo "Docker version 28.2.2";; *) echo "Cannot connect to the Docker daemon" >&2; exit 1;; esac' && preflight 1 "its engine does not answer" "Docker's engine does not answer"
good && stub docker 'case "$1" in --version) echo "Docker version 28.2.2";; info) echo "2 4294967296";; esac' && preflight 1 "Docker has 2 processors, the cluster takes 4" "too few processors"
good && stub docker 'case "$1" in --version) echo "Docker version 28.2.2";; info) echo "8 4294967296";; esac' && preflight 1 "4 GiB of memory, the cluster takes 10" "too little memory"
good && stub kubectl 'echo nothing' && preflight 1 "does not say its version" "a tool that does not answer"
good && stub helm 'echo v3.9.0' && rm "$stubs/k3d" && preflight 1 "  - k3d is not installed (version 5.8 or newer): https://k3d.io/stable/#installation
  - helm 3.9.0 is too old" "all that is wrong, at once"
held 6550
good && preflight 1 "port 6550 of this machine is in use" "a port that is taken"
kill "$holder" 2>/dev/null || true
held 8080
good && preflight 0 "all there" "a port that only PROFILE=full takes"
good && PROFILE=full preflight 1 "port 8080 of this machine is in use" "the same for PROFILE=full"
kill "$holder" 2>/dev/null || true
stub kubectl 'case "$*" in
*namespaces*json*) echo "{\"items\":[{\"metadata\":{\"name\":\"dp-orion\",\"labels\":{\"openchoreo.dev/project\":\"orion\"}}}]}" ;;
*pods*) cat "$PODS" ;;
esac'
cat >"$stubs/pods.json" <<'JSON'
{"items": [
  {"metadata": {"name": "guidance-nav-1", "namespace": "dp-orion", "labels": {"openchoreo.dev/component": "guidance-nav"},
    "annotations": {"ambient.istio.io/redirection": "enabled"}}, "spec": {"serviceAccountName": "guidance-nav"},
    "status": {"podIP": "10.42.0.1", "conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": [{"restartCount": 2}]}},
  {"metadata": {"name": "adversary-1", "namespace": "dp-orion", "labels": {"app": "adversary"}}, "spec": {"serviceAccountName": "adversary"}, "status": {}},
  {"metadata": {"name": "of-others", "namespace": "kube-system"}, "spec": {}, "status": {}}]}
JSON
rows=$(PODS=$stubs/pods.json KUBE_CONTEXT='' PATH="$stubs:$PATH" scripts/status.sh | tr -s ' ' | tail -n 2)
[[ $rows == "orion adversary TCP - - no 0"$'\n'"orion guidance-nav HBONE spiffe://cluster.local/ns/dp-orion/sa/guidance-nav 10.42.0.1 yes 2" ]] || fail "status shows $rows"
ok "status: the pods in the Cells, the attacker's too, with protocol and identity"
good
stub go 'echo "go version go1.26.8 linux/amd64"' && preflight 0 "all there" "a machine that can build" build
stub go 'echo "go version go1.21.13 linux/amd64"' && preflight 1 "go 1.21.13 is too old, it takes " "a Go that is too old" build
preflight 1 "preflight knows k3d and build, not 'kind'" "what it does not know" kind

# A played cluster on which Orion takes two looks longer than the other Cells to show what its binding says.
cat >"$stubs/kubectl" <<'SH'
#!/usr/bin/env bash
cells=(houston kennedy orion deep-space-network esa-ops)
now=$(cat "$STUBS/now") before=$(cat "$STUBS/before") looks=$(cat "$STUBS/looks")
cell() { # CELL STAGE/SWITCHING
  local labels mode=STRICT rules='[{}]'
  case "$2" in open/*) labels=/ ;; mtls/*) labels=ambient/ ;; *) labels=ambient/waypoint ;; esac
  case "$2" in open/* | mtls/true) mode=PERMISSIVE ;; zero-trust/false) rules='[{"from":[{"source":{"serviceAccounts":["waypoint"]}}]}]' ;; esac
  printf '%s\tNamespace/dp-%s\t%s\t\t\n%s\tPeerAuthentication/default\t/\t%s\t\n' "$1" "$1" "$labels" "$1" "$mode"
  printf '%s\tAuthorizationPolicy/x-authz\t/\t\t[{"to":[]}]\n%s\tAuthorizationPolicy/via-waypoint-only\t/\t\t%s\n' "$1" "$1" "$rules"
}
case "$*" in
  *'get --raw=/version'*) echo '{}' ;;
  *'get deployment adversary-console'*) exit 1 ;;
  *' patch projectreleasebinding houston-development kennedy-development orion-development deep-space-network-development esa-ops-development '*)
    [[ $* =~ \"stage\":\"([a-z-]+)\",\"switching\":(true|false) ]] || exit 3
    echo "$now" >"$STUBS/before"; echo "${BASH_REMATCH[1]}/${BASH_REMATCH[2]}" >"$STUBS/now"; echo 0 >"$STUBS/looks"
    echo "${BASH_REMATCH[1]}/${BASH_REMATCH[2]}" >>"$STUBS/asked" ;;
  *'get namespaces,peerauthentications,authorizationpolicies '*)
    echo $((looks + 1)) >"$STUBS/looks"; echo look >>"$STUBS/asked"
    for c in "${cells[@]}"; do if [[ $c == orion && $looks -lt 2 ]]; then cell "$c" "$before"; else cell "$c" "$now"; fi; done ;;
  *'get namespaces '*) for c in "${cells[@]}"; do case "$now" in open/*) echo / ;; mtls/*) echo ambient/ ;; *) echo ambient/waypoint ;; esac; done ;;
  *) echo "not played: kubectl $*" >&2; exit 3 ;;
esac
SH
chmod +x "$stubs/kubectl"
# switched FROM TO STEP...: stage.sh takes these steps, and each only when all Cells show the one before
switched() {
  local from=$1 to=$2 want
  shift 2
  echo "$from" >"$stubs/now"; echo "$from" >"$stubs/before"; echo 0 >"$stubs/looks"; : >"$stubs/asked"
  said=$(STUBS=$stubs PATH=$stubs:$PATH KUBE_CONTEXT='' scripts/stage.sh "$to" 2>&1) || fail "stage $to from $from: $said"
  want=$(printf '%s\nlook\nlook\nlook\n' "$@")
  [[ $(cat "$stubs/asked") == "$want" ]] || fail "stage $to from $from asked: $(tr '\n' ' ' <"$stubs/asked")"
  ok "stage $to from $from: ${*}, none before all Cells show the one before it, one question for all of them"
}
switched open/false zero-trust mtls/true mtls/false zero-trust/true zero-trust/false
switched zero-trust/false open zero-trust/true mtls/false mtls/true open/false
switched mtls/true mtls mtls/false

# Verdicts of a real run, compared with themselves and with a lie.
make -s binaries
bin/artemis up --detach --state-dir "$stubs/suite" --gateway 127.0.0.1:0 --stage open >/dev/null
bin/artemis attack --state-dir "$stubs/suite" --all-stages --json abort wrong-path pod-ip >"$stubs/run.json" 2>/dev/null
bin/artemis down --state-dir "$stubs/suite" >/dev/null
said=$(scripts/compare-verdicts.sh "$stubs/run.json" "$stubs/run.json") || fail "compare-verdicts on the same verdicts: $said"
[[ $said == *"9 verdicts, the same on both"* ]] || fail "compare-verdicts on the same verdicts said: $said"
jq '(.results[] | select(.id == "pod-ip" and .stage == "zero-trust") | .verdict) = "allowed"' "$stubs/run.json" >"$stubs/lie.json"
if said=$(scripts/compare-verdicts.sh "$stubs/run.json" "$stubs/lie.json" 2>&1); then fail "compare-verdicts takes a lie"; fi
[[ $said == *"+zero-trust	pod-ip	allowed"* ]] || fail "compare-verdicts on a lie said: $said"
ok "compare-verdicts names the verdict that differs"
jq '(.results[] | select(.id == "pod-ip" and .stage == "zero-trust")) |= (.verdict = "denied-network" | .inferred = true)' "$stubs/run.json" >"$stubs/inferred.json"
scripts/compare-verdicts.sh "$stubs/run.json" "$stubs/inferred.json" >/dev/null || fail "compare-verdicts does not take an inferred layer for what it is"
jq '(.results[] | select(.id == "pod-ip" and .stage == "zero-trust")) |= (.verdict = "allowed" | .inferred = true)' "$stubs/run.json" >"$stubs/lie.json"
if scripts/compare-verdicts.sh "$stubs/run.json" "$stubs/lie.json" >/dev/null 2>&1; then fail "compare-verdicts takes a lie that calls itself inferred"; fi
ok "compare-verdicts takes an inferred layer for any denial, and for nothing else"
jq 'del(.results[] | select(.id == "abort"))' "$stubs/run.json" >"$stubs/fewer.json"
said=$(scripts/compare-verdicts.sh "$stubs/run.json" "$stubs/fewer.json") || fail "compare-verdicts where one side plays less: $said"
[[ $said == *"played on one side only: open	abort"* && $said == *"6 verdicts, the same on both"* ]] || fail "compare-verdicts where one side plays less said: $said"
ok "compare-verdicts names what only one side plays"

CGO_ENABLED=0 go -C conformance/render run . -exec "scripts/test-kubernetes.sh --against-the-api"
CGO_ENABLED=0 go -C conformance/render run . -exec "scripts/test-kubernetes.sh --plain-against-the-api"
echo "$passed passed before the API"
