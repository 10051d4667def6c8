# shellcheck shell=bash disable=SC2034
# What the Kubernetes scripts have in common: versions, the cluster's name, progress, waiting on conditions, and what to show
# when a wait fails. Sourced, never run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
# shellcheck source=versions.env
. ./versions.env

CLUSTER=${CLUSTER:-artemis}
CONTROL_PLANE=openchoreo-control-plane
DATA_PLANE=openchoreo-data-plane
CELLS=(houston kennedy orion deep-space-network esa-ops)
# The labels of what belongs to our Cells: other projects may live beside them.
OURS="openchoreo.dev/environment=development,openchoreo.dev/project in ($(IFS=, && echo "${CELLS[*]}"))"
# How long one wait may take; a slow machine may say WAIT=20m.
WAIT=${WAIT:-5m}
# The context is named in every call, so that a script never touches another cluster. KUBE_CONTEXT= (empty) takes the current one.
KUBE_CONTEXT=${KUBE_CONTEXT-k3d-$CLUSTER}

usage_if_asked() { # the script's own header is its help
  case "${1:-}" in
    -h | --help)
      sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$0"
      exit 0
      ;;
  esac
}

k() { kubectl ${KUBE_CONTEXT:+--context "$KUBE_CONTEXT"} "$@"; }
h() { helm ${KUBE_CONTEXT:+--kube-context "$KUBE_CONTEXT"} "$@"; }

step() { printf '\n[%3ds] %s\n' "$SECONDS" "$*"; }
note() { printf '       %s\n' "$*"; }
die() {
  printf '\nerror: %s\n' "$1" >&2
  shift
  (($# == 0)) || printf '       %s\n' "$@" >&2
  exit 1
}

reachable() {
  k get --raw=/version --request-timeout=5s >/dev/null 2>&1 ||
    die "no cluster answers${KUBE_CONTEXT:+ in context $KUBE_CONTEXT}" "start one with 'make k3d-up', or name yours with KUBE_CONTEXT=..."
}

# explain NAMESPACE: what a person would look at when something in the namespace does not become ready.
explain() {
  {
    echo "--- pods in $1"
    k -n "$1" get pods -o wide || true
    echo "--- latest warnings in $1"
    k -n "$1" get events --field-selector type=Warning --sort-by=.lastTimestamp 2>/dev/null | tail -n 15 || true
    local pod
    for pod in $(k -n "$1" get pods -o jsonpath='{range .items[?(@.status.phase!="Succeeded")]}{.metadata.name}{" "}{end}' 2>/dev/null); do
      k -n "$1" get pod "$pod" -o jsonpath='{.status.conditions[?(@.type=="Ready")].status}' 2>/dev/null | grep -q True && continue
      echo "--- last lines of $pod"
      k -n "$1" logs "$pod" --all-containers --tail=15 2>&1 || true
    done
  } >&2
}

# wait_for NAMESPACE CONDITION RESOURCE...: kubectl wait, with the reasons when it fails.
wait_for() {
  local namespace=$1 condition=$2
  shift 2
  if ! k -n "$namespace" wait --for="$condition" --timeout="$WAIT" "$@" >/dev/null; then
    explain "$namespace"
    die "$* in $namespace did not reach $condition within $WAIT" "what was seen is above; run the same command again when the cause is gone, it goes on where it stopped"
  fi
}

# wait_until_there NAMESPACE KIND LABEL: until an object with the label exists; within two minutes.
wait_until_there() {
  local deadline=$((SECONDS + 120))
  until [[ -n $(k -n "$1" get "$2" -l "$3" -o name) ]]; do
    ((SECONDS < deadline)) || { explain "$1"; die "no $2 with $3 in $1 within two minutes" "what was seen is above; run the same command again when the cause is gone"; }
    read -rt 0.2 <> <(:) || true
  done
}

namespace() { k create namespace "$1" --dry-run=client -o yaml | k apply --server-side -f - >/dev/null; }

# cell_namespace CELL: the name that OpenChoreo computed, as the binding reports it.
cell_namespace() {
  k -n default get projectreleasebinding "$1-development" -o jsonpath='{.status.namespace}'
}

# stage_named MODE/WAYPOINT: the stage that a Cell's labels belong to, or "unknown".
stage_named() {
  case "$1" in
    /) echo open ;;
    ambient/) echo mtls ;;
    ambient/waypoint) echo zero-trust ;;
    *) echo unknown ;;
  esac
}

# stage_of NAMESPACE: the stage that a Cell shows.
stage_of() { stage_named "$(k get namespace "$1" -o jsonpath='{.metadata.labels.istio\.io/dataplane-mode}/{.metadata.labels.istio\.io/use-waypoint}')"; }

# stage_in_force: the one stage that all Cells are at. Cells at different stages, as in the middle of a switch, are an error.
stage_in_force() {
  local labels stages=()
  while read -r labels; do stages+=("$(stage_named "$labels")"); done < <(k get namespaces -l "$OURS" -o jsonpath='{range .items[*]}{.metadata.labels.istio\.io/dataplane-mode}/{.metadata.labels.istio\.io/use-waypoint}{"\n"}{end}')
  ((${#stages[@]})) || die "no Cell of the mission is on this cluster" "'make deploy' brings them"
  mapfile -t stages < <(printf '%s\n' "${stages[@]}" | sort -u)
  [[ ${#stages[@]} == 1 && ${stages[0]} != unknown ]] || die "the Cells are at the stages ${stages[*]}" "'make stage-zero-trust', or another, brings all to one"
  echo "${stages[0]}"
}

# cell_namespaces: one line a Cell of ours, also where OpenChoreo is not installed (deploy-plain).
cell_namespaces() {
  k get namespaces -l "$OURS" -o jsonpath='{range .items[*]}{.metadata.name}{"\n"}{end}'
}

# follow_order: applies openchoreo/ in the order that openchoreo/apply-order gives, which `make render` follows too.
follow_order() {
  local verb first second
  while read -r verb first second; do
    case "$verb" in
      '' | '#'*) ;;
      apply)
        note "apply $first"
        k apply --server-side --force-conflicts --field-manager=artemis -f "$first" >/dev/null
        ;;
      wait)
        note "wait until every $first is $second"
        wait_for default "condition=$second" "$first" --all
        ;;
      *) die "openchoreo/apply-order: unknown word '$verb'" ;;
    esac
  done <openchoreo/apply-order
}
