#!/usr/bin/env bash
# What runs on the cluster, in the columns of `artemis status`: every pod in the Cells, the attacker's too, whether it is reached by HBONE or
# in plaintext, and the identity that it proves where it is in the mesh. Needs jq.
. "$(dirname "$0")/lib.sh"
usage_if_asked "$@"
command -v jq >/dev/null || die "this needs jq: apt-get install jq, or brew install jq"
reachable
k get namespaces -l openchoreo.dev/environment=development -o custom-columns='CELL:.metadata.labels.openchoreo\.dev/project,NAMESPACE:.metadata.name,AMBIENT:.metadata.labels.istio\.io/dataplane-mode,WAYPOINT:.metadata.labels.istio\.io/use-waypoint'
echo
cells=$(k get namespaces -l openchoreo.dev/environment=development -o json |
  jq -c '[.items[] | {(.metadata.name): (.metadata.labels["openchoreo.dev/project"] // .metadata.name)}] | add // {}')
k get pods -A -o json | jq -r --argjson cells "$cells" '
  ["CELL", "COMPONENT", "PROTOCOL", "IDENTITY", "POD IP", "READY", "RESTARTS"],
  ([.items[] | select($cells[.metadata.namespace]) |
    (.metadata.annotations["ambient.istio.io/redirection"] == "enabled" or .metadata.labels["gateway.networking.k8s.io/gateway-class-name"] == "istio-waypoint") as $meshed | [
    $cells[.metadata.namespace],
    (.metadata.labels | .["openchoreo.dev/component"] // .["gateway.networking.k8s.io/gateway-name"] // .app) // .metadata.name,
    if $meshed then "HBONE" else "TCP" end,
    if $meshed then "spiffe://cluster.local/ns/\(.metadata.namespace)/sa/\(.spec.serviceAccountName)" else "-" end,
    .status.podIP // "-",
    if any(.status.conditions[]?; .type == "Ready" and .status == "True") then "yes" else "no" end,
    ([.status.containerStatuses[]?.restartCount] | add // 0)
  ]] | sort[]) | @tsv' | column -t -s "$(printf '\t')"
