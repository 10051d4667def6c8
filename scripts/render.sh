#!/usr/bin/env bash
# Lets the real OpenChoreo control plane, built from its Go module, render openchoreo/ into openchoreo/rendered, istio/cells and istio/stages.
# --check writes nothing and fails when a file is not as it is rendered; --keep keeps the engines' state and logs. Needs Go alone.
set -euo pipefail
cd "$(dirname "$0")/.."
[[ ${1:-} != --help && ${1:-} != -h ]] || { sed -n '2,3s/^# //p' "$0"; exit 0; }
CGO_ENABLED=0 exec go -C conformance/render run . "$@"
