#!/usr/bin/env bash
# Switches the five Cells of the cluster to a stage, without restarting a pod, and waits until the mesh follows it. A switch goes stage by
# stage, and each step so that nobody's call is lost: upwards the labels first, then the rules that demand the new way; downwards the rules
# are opened first, and the labels go when nothing depends on them.
# URL=http://HOST:PORT is another gateway. usage: scripts/stage.sh open|mtls|zero-trust
. "$(dirname "$0")/lib.sh"
usage_if_asked "$@"
stage=${1:-}
[[ $stage =~ ^(open|mtls|zero-trust)$ ]] || die "which stage? open, mtls or zero-trust"
reachable

# shown: a line a Cell: the labels, the mTLS mode and whom the L4 policy admits. Of one answer of the API for all Cells: to ask for each object
# takes longer than the switch.
shown() {
  k get namespaces,peerauthentications,authorizationpolicies -A -l "$OURS" -o jsonpath='{range .items[*]}{.metadata.labels.openchoreo\.dev/project}{"\t"}{.kind}/{.metadata.name}{"\t"}{.metadata.labels.istio\.io/dataplane-mode}/{.metadata.labels.istio\.io/use-waypoint}{"\t"}{.spec.mtls.mode}{"\t"}{.spec.rules}{"\n"}{end}' |
    awk -F'\t' '
      $2 ~ "^Namespace/" { labels[$1] = $3 }
      $2 == "PeerAuthentication/default" { mode[$1] = $4 }
      $2 == "AuthorizationPolicy/via-waypoint-only" { admits[$1] = $5 == "[{}]" ? "everybody" : "waypoint" }
      END { for (cell in labels) print cell, labels[cell], mode[cell], admits[cell] }'
}
# step_to STAGE SWITCHING: until all Cells show it
step_to() {
  local cell want behind deadline=$((SECONDS + 60))
  case "$1/$2" in
    open/*) want="/ PERMISSIVE everybody" ;;
    mtls/true) want="ambient/ PERMISSIVE everybody" ;;
    mtls/false) want="ambient/ STRICT everybody" ;;
    zero-trust/true) want="ambient/waypoint STRICT everybody" ;;
    zero-trust/false) want="ambient/waypoint STRICT waypoint" ;;
  esac
  k -n default patch projectreleasebinding "${CELLS[@]/%/-development}" --type merge \
    -p "{\"spec\":{\"environmentConfigs\":{\"stage\":\"$1\",\"switching\":$2}}}" >/dev/null
  while behind=$(grep -vxF -f <(shown) <(printf "%s $want\n" "${CELLS[@]}")); do
    ((SECONDS < deadline)) || {
      cell=${behind%% *}
      k -n default get projectreleasebinding "$cell-development" -o yaml >&2
      die "$cell did not reach stage $1 within a minute: it shows '$(shown | grep "^$cell ")', not '$cell $want'" "its binding is above"
    }
    read -rt 0.2 <> <(:) || true
  done
  # ztunnel follows a label or a policy within 0.3 s of the API server (seen on a live mesh); the next step is for a mesh that has.
  read -rt 1 <> <(:) || true
}

# tell_console STAGE: the attacker's console, where there is one, files what its pods report under the stage that it is told, so that mission
# control knows it; under none while the stage is switched.
tell_console() {
  k -n dark-side get deployment adversary-console -o name >/dev/null 2>&1 || return 0
  curl -fsS -m 5 -o /dev/null -H 'Host: development-default.openchoreoapis.localhost' -H 'Content-Type: application/json' \
    -d "{\"stage\":\"$1\"}" "${URL:-http://127.0.0.1:19080}/adversary-console-http/stage" ||
    note "the attacker's console was not told: say in mission control which stage is in force"
}

order=(open mtls zero-trust)
index() { local i; for i in 0 1 2; do [[ ${order[i]} != "$1" ]] || echo "$i"; done; }
step "stage $stage"
to=$(index "$stage")
tell_console ""
# Cells in the middle of a switch that was cut off, or at different stages, are brought to the stage at once.
if from=$(stage_in_force 2>/dev/null) && [[ $from != "$stage" ]]; then
  for ((at = $(index "$from"); at < to; at++)); do
    step_to "${order[at + 1]}" true
    step_to "${order[at + 1]}" false
  done
  for ((; at > to; at--)); do
    step_to "${order[at]}" true
    step_to "${order[at - 1]}" false
  done
else
  step_to "$stage" false
fi
tell_console "$stage"
for cell in "${CELLS[@]}"; do note "$cell"; done
