#!/usr/bin/env bash
# Compares the project's evaluators with Istio, Envoy and cyclonus, and prints what was compared.
set -euo pipefail
cd "$(dirname "$0")"

usage() {
  cat <<'END'
usage: conformance/run.sh [--long]

Builds the comparisons (cold 10 to 20 minutes on two cores, Istio is large), installs the Envoy that versions.env pins,
runs all comparisons and prints a line for each. Fails on a disagreement and on a missing engine.

  --long   ten times as many generated policies
  ENVOY=PATH uses that Envoy
END
}
arguments=()
case "${1:-}" in
  "") ;;
  --long) arguments=(-args -policies=500000) ;;
  -h | --help) usage && exit ;;
  *) usage >&2 && exit 2 ;;
esac

CONFORMANCE_FIGURES=$(mktemp -d)
trap 'rm -rf "$CONFORMANCE_FIGURES"' EXIT
export CONFORMANCE_FIGURES CGO_ENABLED=0
go vet ./...
go test -count=1 -timeout 30m ./analysis ./netpol ./waypoint ./h2spec
go -C analyzer test -count=1 -timeout 30m -v . | grep -v '^=== '
go test -count=1 -timeout 180m ./authz "${arguments[@]}"
go run ./summary "$CONFORMANCE_FIGURES" 19
