#!/usr/bin/env bash
# How much of each package the tests run, in per cent of its statements. What a test runs in processes of its own (services, the launcher, pods)
# counts too: their binaries are built with coverage. usage: scripts/cover.sh [PACKAGE...]   default: all of the root module
set -euo pipefail
cd "$(dirname "$0")/.."
case "${1:-}" in
  -h | --help) sed -n '2,3s/^# //p' "$0"; exit 0 ;;
esac
(($#)) || set -- ./...
data=$(mktemp -d)
trap 'rm -rf "$data"' EXIT
mkdir "$data/tests" "$data/processes" "$data/all"
# A binary that a test builds asks this variable of Go's own, and every process of it writes what it ran to GOCOVERDIR.
export GOFLAGS="${GOFLAGS:-} -cover -coverpkg=./..." GOCOVERDIR=$data/processes
go test "$@" -args -test.gocoverdir="$data/tests" >"$data/log" 2>&1 || { grep -vE '^ok|no test files' "$data/log" >&2; exit 1; }
go tool covdata merge -i="$data/tests,$data/processes" -o "$data/all"
go tool covdata percent -i="$data/all" | sed 's/^[[:space:]]*artemis.example\///; s/coverage: //; s/ of statements//' | sort | column -t
