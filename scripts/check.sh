#!/usr/bin/env bash
# Between two edits: build, vet and staticcheck of every module, and the tests that start no process. Under twenty seconds once all
# modules were built: the nested ones take minutes then. usage: scripts/check.sh [--root]   with --root without the nested modules
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=versions.env
. ./versions.env
modules=(. conformance conformance/analyzer conformance/render)
case "${1:-}" in
  -h | --help) sed -n '2,3s/^# //p' "$0"; exit 0 ;;
  '') ;;
  --root) modules=(.) ;;
  *) echo "check.sh takes --root or nothing" >&2; exit 2 ;;
esac
began=$SECONDS
go build ./...
for module in "${modules[@]}"; do
  printf '== %s\n' "$module"
  # vet compiles what it looks at, and links nothing. staticcheck by go run, as scripts/lint.sh has it: its cache knows who filled it.
  # The nested ones with make conformance's flags, so that Istio is compiled once.
  (cd "$module" && { [[ $module == . ]] || export CGO_ENABLED=0; } && go vet ./... && go run "honnef.co/go/tools/cmd/staticcheck@$STATICCHECK_VERSION" ./...)
done
# What starts processes, pods or whole flights is make test's.
mapfile -t packages < <(go list ./... | grep -vE '/local/(bench|capture|cli|faults|mesh|launcher)|/service/(process|mission|role)$|/local$|/service$')
go test -short "${packages[@]}" | grep -v 'no test files'
echo "checked in $((SECONDS - began)) s"
