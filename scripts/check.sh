#!/usr/bin/env bash
# Between two edits: build, vet and staticcheck of every module, and the tests that start no process. Under twenty seconds once it has run.
# usage: scripts/check.sh [--all-modules]   with --all-modules also the nested ones, which take minutes until they were built once
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=versions.env
. ./versions.env
case "${1:-}" in
  -h | --help) sed -n '2,3s/^# //p' "$0"; exit 0 ;;
  '' | --all-modules) ;;
  *) echo "check.sh takes --all-modules or nothing" >&2; exit 2 ;;
esac
began=$SECONDS
modules=(.)
[[ -z ${1:-} ]] || modules+=(conformance conformance/analyzer conformance/render)
for module in "${modules[@]}"; do
  printf '== %s\n' "$module"
  (cd "$module" && go build ./... && go vet ./... && go run "honnef.co/go/tools/cmd/staticcheck@$STATICCHECK_VERSION" ./...)
done
# What starts processes, pods or whole flights is make test's.
mapfile -t packages < <(go list ./... | grep -vE '/local/(bench|capture|cli|faults|mesh|launcher)|/service/(process|mission|role)$|/local$|/service$')
go test -short "${packages[@]}" | grep -v 'no test files'
echo "checked in $((SECONDS - began)) s"
