#!/usr/bin/env bash
# What a release must pass: version, changelog, licences of the dependencies, SBOM, a build that is the same twice, a clean tree.
set -euo pipefail
cd "$(dirname "$0")/.."
[[ ${1:-} != --help && ${1:-} != -h ]] || { sed -n '2s/^# //p' "$0"; exit 0; }

. ./versions.env
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
step() { printf '== %s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }
before=$(git status --porcelain)

step "changelog"
tag=$(git describe --tags --exact-match 2>/dev/null || true)
if [[ -n $tag ]]; then
  grep -qF "## ${tag#v} " CHANGELOG.md || die "CHANGELOG.md has no section for $tag"
else
  grep -q '^## Unreleased' CHANGELOG.md || die "CHANGELOG.md has no section Unreleased"
fi

step "licences"
# Every module that is linked into a binary must carry a licence that allows redistribution under Apache-2.0.
go list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Dir}}{{end}}{{end}}' ./service ./local | sort -u >"$out/modules"
unknown=()
while read -r module dir; do
  file=$(find "$dir" -maxdepth 1 -iname 'licen[cs]e*' -o -maxdepth 1 -iname 'copying*' | head -n 1)
  if [[ -z $file ]]; then unknown+=("$module: no licence file"); continue; fi
  case "$(tr -s '[:space:]' ' ' <"$file")" in
    *"Apache License"*"Version 2.0"*) kind=Apache-2.0 ;;
    *"Permission is hereby granted, free of charge"*) kind=MIT ;;
    *"Redistribution and use in source and binary forms"*) kind=BSD ;;
    *"Permission to use, copy, modify, and"*"distribute this software"*) kind=ISC ;;
    *"Mozilla Public License"*"2.0"*) kind=MPL-2.0 ;;
    *) unknown+=("$module: $file"); continue ;;
  esac
  printf '%-55s %s\n' "$module" "$kind"
done <"$out/modules" >"$out/licences"
cut -c57- "$out/licences" | sort | uniq -c
((${#unknown[@]} == 0)) || { printf '  %s\n' "${unknown[@]}" >&2; die "licences that are not known to be fine: above"; }

build() { # FILE PACKAGE ARCHITECTURE
  CGO_ENABLED=0 GOOS=linux GOARCH=$3 go build -trimpath -buildvcs=false -ldflags '-s -w -X main.version=check' -o "$1" "$2"
}
step "the same build twice, for both architectures"
# The second one from a copy of the tree in another place, so that no path may leak into it.
mkdir "$out/copy"
git ls-files -z -co --exclude-standard | xargs -0 cp --parents -t "$out/copy" 2>/dev/null
for arch in amd64 arm64; do
  build "$out/one" ./service "$arch"
  (cd "$out/copy" && build "$out/two" ./service "$arch")
  cmp "$out/one" "$out/two" || die "two builds for $arch differ"
  printf '%s  %s  %d bytes\n' "$(sha256sum <"$out/one" | cut -d' ' -f1)" "$arch" "$(stat -c %s "$out/one")"
  (($(stat -c %s "$out/one") < 16000000)) || die "the binary for $arch is larger than 16 MB"
done

step "SBOM"
# From what the linker recorded in the binary itself, which is what ships.
build "$out/service" ./service amd64
go run "github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@$CYCLONEDX_GOMOD_VERSION" bin -json -std -output "$out/sbom.json" "$out/service" 2>/dev/null
python3 - "$out/sbom.json" <<'PY'
import json, sys
sbom = json.load(open(sys.argv[1]))
names = [c["name"] for c in sbom["components"]]
assert sbom["bomFormat"] == "CycloneDX" and "github.com/go-chi/chi/v5" in names and "std" in names, "the SBOM is not one"
print(len(names), "packages")
PY

step "the version in the binary"
build "$out/native" ./service "$(go env GOARCH)"
[[ $("$out/native" --version) == *check* ]] || die "--version does not say the version: $("$out/native" --version)"

step "clean tree"
after=$(git status --porcelain)
[[ $before == "$after" ]] || die "the check changed the tree: $after"
echo "release check passed"
