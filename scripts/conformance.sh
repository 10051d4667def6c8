#!/usr/bin/env bash
# The same manifests against the real engines: OpenChoreo's control plane renders and refuses, Istio translates and analyses, Envoy and
# cyclonus decide beside ours. Builds and installs what it needs; a missing engine is a failure. usage: scripts/conformance.sh [--long]
set -euo pipefail
cd "$(dirname "$0")/.."
[[ ${1:-} != --help && ${1:-} != -h ]] || { sed -n '2,3s/^# //p' "$0"; exit 0; }
echo "== OpenChoreo's control plane: rendering, refusals, stages, a bare Kubernetes API"
CGO_ENABLED=0 go -C conformance/render test -count=1 -timeout 30m .
echo "== Istio, Envoy, cyclonus"
exec conformance/run.sh "$@"
