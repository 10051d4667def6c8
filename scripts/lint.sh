#!/usr/bin/env bash
# Formatting, vet, staticcheck, shellcheck, yamllint, actionlint and the links of the documentation.
# A tool that is missing is an error that says how to get it.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=versions.env
. ./versions.env

[[ ${1:-} != --help && ${1:-} != -h ]] || { sed -n '2,3s/^# //p' "$0"; exit 0; }

need() { command -v "$1" >/dev/null || { echo "lint needs $1: $2" >&2; exit 1; }; }
step() { printf '== %s\n' "$*"; }
need shellcheck "apt-get install shellcheck, or brew install shellcheck"
need yamllint "pip install yamllint==$YAMLLINT_VERSION"

step gofmt
unformatted=$(git ls-files -z -co --exclude-standard '*.go' | xargs -0 gofmt -l)
[[ -z $unformatted ]] || { printf 'not formatted:\n%s\n' "$unformatted" >&2; exit 1; }

step "vet for macOS"
# Where the local suite runs too, without namespaces; make test vets for this machine.
CGO_ENABLED=0 GOOS=darwin GOARCH=arm64 go vet ./...

step "staticcheck $STATICCHECK_VERSION"
for module in . conformance conformance/analyzer conformance/render; do
  # The nested ones with make conformance's flags, so that Istio is compiled once.
  (cd "$module" && { [[ $module == . ]] || export CGO_ENABLED=0; } && go run "honnef.co/go/tools/cmd/staticcheck@$STATICCHECK_VERSION" ./...)
done

step "go mod tidy and verify"
for module in . conformance conformance/analyzer conformance/render; do go -C "$module" mod tidy -diff; done
go mod verify

step shellcheck
git ls-files -z -co --exclude-standard '*.sh' .ci/run | xargs -0 shellcheck -x

step yamllint
git ls-files -z -co --exclude-standard '*.yaml' '*.yml' | xargs -0 yamllint --strict -c .yamllint.yaml

step "actionlint $ACTIONLINT_VERSION"
go run "github.com/rhysd/actionlint/cmd/actionlint@$ACTIONLINT_VERSION"

step links
scripts/links.sh
