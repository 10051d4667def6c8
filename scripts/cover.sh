#!/usr/bin/env bash
# How much of each package the tests run, in per cent of its statements: in themselves, and in the programs that they build and start.
# What runs inside a pod with namespaces of its own cannot write what it ran, and is not counted. usage: scripts/cover.sh [PACKAGE...]
set -euo pipefail
cd "$(dirname "$0")/.."
case "${1:-}" in
  -h | --help) sed -n '2,3s/^# //p' "$0"; exit 0 ;;
esac
(($#)) || set -- ./...
data=$(mktemp -d)
trap 'rm -rf "$data"' EXIT
mkdir "$data/tests" "$data/programs" "$data/all"
chmod 0755 "$data"
chmod 1777 "$data/programs" # the suite's node is another user where root starts it
# The tests' own `go build` counts too by GOFLAGS; the tests tell what it makes to write to ARTEMIS_COVERDIR: GOCOVERDIR is go test's own.
export GOFLAGS='-cover -coverpkg=artemis.example/...' ARTEMIS_COVERDIR="$data/programs"
go test "$@" -args -test.gocoverdir="$data/tests" >"$data/log" 2>&1 || { grep -vE '^ok|no test files' "$data/log" >&2; exit 1; }
unset GOFLAGS
go tool covdata merge -i="$data/tests,$data/programs" -o "$data/all"
go tool covdata percent -i="$data/all" | sed -E 's/^\s*\S+\s+(artemis\.example)/\1/' | sed 's/^[[:space:]]*artemis.example\///; s/coverage: //; s/ of statements//' | sort | column -t
