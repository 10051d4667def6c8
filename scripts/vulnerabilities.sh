#!/usr/bin/env bash
# Known vulnerabilities in the code that is called, by govulncheck, in the suite and in what its conformance is proven with. The database is
# https://vuln.go.dev, or the one that GOVULNDB names (file:///... for a copy where there is no way to it).
set -euo pipefail
cd "$(dirname "$0")/.."
[[ ${1:-} != --help && ${1:-} != -h ]] || { sed -n '2,3s/^# //p' "$0"; exit 0; }
# shellcheck source=versions.env
. ./versions.env
for module in . conformance conformance/analyzer conformance/render; do
  printf '== %s\n' "$module"
  go -C "$module" run "golang.org/x/vuln/cmd/govulncheck@$GOVULNCHECK_VERSION" -db "${GOVULNDB:-https://vuln.go.dev}" ./...
done
