#!/usr/bin/env bash
# Breaks a running local suite in every way that a machine breaks: killed services, launcher and Envoys, peers that misbehave, a clock that is
# set, garbage policies, full disk, full descriptor table, slow clients, and DURATION (default 1m) of load with a flat memory line. Needs
# prlimit (util-linux), what `make envoy` needs, and root for the full disk.
set -euo pipefail
cd "$(dirname "$0")/.."
[[ ${1:-} != --help && ${1:-} != -h ]] || { sed -n '2,4s/^# //p' "$0"; exit 0; }
DURATION=${DURATION:-1m}
export DURATION
make -s binaries envoy
# Every question of every caller, to explain and to the live mesh: make test asks one of twelve.
go test -tags faults -count=1 -run TestExplainAndLintAgreeWithTheLiveMesh -v ./local/mesh
exec go test -tags faults -count=1 -timeout 60m -v ./local/faults
