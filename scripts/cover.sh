#!/usr/bin/env bash
# How much of each package the tests run, in per cent of its statements; what they run in processes of their own is not counted.
# usage: scripts/cover.sh [PACKAGE...]   default: all of the root module
set -euo pipefail
cd "$(dirname "$0")/.."
case "${1:-}" in
  -h | --help) sed -n '2,3s/^# //p' "$0"; exit 0 ;;
esac
(($#)) || set -- ./...
data=$(mktemp -d)
trap 'rm -rf "$data"' EXIT
go test -cover -coverpkg=artemis.example/... "$@" -args -test.gocoverdir="$data" >"$data.log" 2>&1 || { grep -vE '^ok|no test files' "$data.log" >&2; rm -f "$data.log"; exit 1; }
rm -f "$data.log"
go tool covdata percent -i="$data" | sed 's/^[[:space:]]*artemis.example\///; s/coverage: //; s/ of statements//' | sort | column -t
