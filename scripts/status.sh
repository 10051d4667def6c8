#!/usr/bin/env bash
# What runs on the cluster: every Cell with its stage, waypoint and components.
. "$(dirname "$0")/lib.sh"
usage_if_asked "$@"
reachable
k get namespaces -l openchoreo.dev/environment=development -o custom-columns='CELL:.metadata.labels.openchoreo\.dev/project,NAMESPACE:.metadata.name,AMBIENT:.metadata.labels.istio\.io/dataplane-mode,WAYPOINT:.metadata.labels.istio\.io/use-waypoint'
echo
k get pods -A -l openchoreo.dev/environment=development -o custom-columns='CELL:.metadata.labels.openchoreo\.dev/project,COMPONENT:.metadata.labels.openchoreo\.dev/component,SERVICE ACCOUNT:.spec.serviceAccountName,IP:.status.podIP,READY:.status.conditions[?(@.type=="Ready")].status,RESTARTS:.status.containerStatuses[0].restartCount,HBONE:.metadata.annotations.ambient\.istio\.io/redirection'
