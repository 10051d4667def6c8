#!/usr/bin/env bash
# Proves on a cluster what the demo claims: enrolment, identities, policies accepted by the proxy that must enforce them, waypoints
# bound, bypasses closed, packets encrypted. Prints one line a check; any that fails makes the exit status 1.
. "$(dirname "$0")/lib.sh"
usage_if_asked "$@"
reachable

failed=0
ok() { printf '  ok    %s\n' "$*"; }
bad() { printf '  FAIL  %s\n' "$*"; failed=1; }
# expect WHAT GOT WANT
expect() { if [[ $2 == "$3" ]]; then ok "$1"; else bad "$1: got '$2', want '$3'"; fi; }
condition() { # KIND NAMESPACE NAME TYPE [PATH]
  k -n "$2" get "$1" "$3" -o json 2>/dev/null | jq -r --arg t "$4" '[.. | objects | select(.type? == $t) | .status] | first // "absent"'
}
command -v jq >/dev/null || die "verify needs jq"

stages=()
mapfile -t namespaces < <(cell_namespaces)
((${#namespaces[@]} == 5)) || bad "five Cells expected, ${#namespaces[@]} found"
for ns in "${namespaces[@]}"; do
  cell=$(k get namespace "$ns" -o jsonpath='{.metadata.labels.openchoreo\.dev/project}')
  stage=$(stage_of "$ns")
  [[ $stage != unknown ]] || bad "$cell: the labels of its namespace belong to no stage"
  stages+=("$stage")
  step "$cell, stage $stage ($ns)"
  expect "waypoint programmed" "$(condition gateway "$ns" waypoint Programmed)" True
  expect "default-deny accepted by the waypoint" "$(condition authorizationpolicy "$ns" default-deny WaypointAccepted)" True
  expect "via-waypoint-only accepted by ztunnel" "$(condition authorizationpolicy "$ns" via-waypoint-only ZtunnelAccepted)" True
  while read -r service; do
    # Before zero-trust no Service is bound to a waypoint, and Istio says of its policy that nobody enforces it.
    if [[ $stage == zero-trust ]]; then
      expect "$service: bound to the waypoint" "$(condition service "$ns" "$service" istio.io/WaypointBound)" True
      expect "$service: policy accepted by the waypoint" "$(condition authorizationpolicy "$ns" "$service-authz" WaypointAccepted)" True
    else
      expect "$service: policy waits for its waypoint" "$(condition authorizationpolicy "$ns" "$service-authz" WaypointAccepted)" False
    fi
  done < <(k -n "$ns" get services -l openchoreo.dev/component -o jsonpath='{range .items[*]}{.metadata.name}{"\n"}{end}')
  while IFS=$'\t' read -r pod component account hbone; do
    expect "$component: runs as its own service account" "$account" "$component"
    if [[ $stage == open ]]; then
      expect "$component: not captured" "${hbone:--}" -
    else
      expect "$component: captured by ztunnel" "${hbone:--}" enabled
    fi
    [[ -n $pod ]] || bad "a pod without a name"
  done < <(k -n "$ns" get pods -l openchoreo.dev/component -o json | jq -r '.items[] | [.metadata.name, .metadata.labels["openchoreo.dev/component"], .spec.serviceAccountName, .metadata.annotations["ambient.istio.io/redirection"] // ""] | @tsv')
done

mapfile -t distinct < <(printf '%s\n' "${stages[@]}" | sort -u)
if ((${#distinct[@]} != 1)); then
  bad "the Cells are at different stages: ${distinct[*]}"
elif k get namespace dark-side >/dev/null 2>&1; then
  step "the bypasses, tried by the attacker"
  # The campaign tries them and compares with what is expected at this stage.
  if scripts/attack.sh; then
    ok "every attack as expected at stage ${distinct[0]}"
  else
    bad "the campaign found a difference, see its table"
  fi
else
  note "the attacker is not in (make adversary): no bypass was tried"
fi

step "packets between two pods"
# A debug container of the node sees what an eavesdropper sees; it needs an image with tcpdump.
if [[ -n ${SNIFFER_IMAGE:-} ]]; then
  node=$(k get nodes -o jsonpath='{.items[0].metadata.name}')
  seen=$(k debug "node/$node" --profile=sysadmin --image="$SNIFFER_IMAGE" -q --attach=true -- timeout 15 tcpdump -i any -A -s 512 -c 400 'tcp port 8080 or tcp port 15008' 2>/dev/null || true)
  if grep -aqE '^(GET|POST) /|"missionTime"' <<<"$seen"; then found=plaintext; else found=none; fi
  if [[ ${distinct[0]} == open ]]; then expect "an unencrypted packet at stage open" "$found" plaintext; else expect "an unencrypted packet" "$found" none; fi
else
  note "not looked at: SNIFFER_IMAGE=image-with-tcpdump make verify does"
fi

exit "$failed"
