#!/usr/bin/env bash
# Writes what a release consists of into dist/: an archive of artemis, the services' program and the manifests for linux and darwin on amd64
# and arm64, an SBOM of each program (CycloneDX), and checksums. VERSION names it (default: git describe); the same commit gives the same bytes.
# usage: scripts/release.sh [DIR]
set -euo pipefail
cd "$(dirname "$0")/.."
[[ ${1:-} != --help && ${1:-} != -h ]] || { sed -n '2,4s/^# //p' "$0"; exit 0; }
. ./versions.env

VERSION=${VERSION:-$(git describe --tags --always --dirty 2>/dev/null || echo dev)}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
dist=${1:-dist}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
rm -rf "$dist"
mkdir -p "$dist"
dist=$(cd "$dist" && pwd)

sbom() { # BINARY FILE
  go run "github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@$CYCLONEDX_GOMOD_VERSION" \
    bin -json -std -noserial -notimestamp -version "$VERSION" -output "$2" "$1" 2>/dev/null
}

for platform in linux/amd64 linux/arm64 darwin/amd64 darwin/arm64; do
  name=artemis_${VERSION#v}_${platform/\//_}
  printf '== %s\n' "$name"
  tree=$work/$name
  mkdir -p "$tree"
  for program in artemis:./local service:./service; do
    CGO_ENABLED=0 GOOS=${platform%/*} GOARCH=${platform#*/} go build -trimpath -buildvcs=false \
      -ldflags "-s -w -X main.version=$VERSION" -o "$tree/${program%%:*}" "${program#*:}"
    sbom "$tree/${program%%:*}" "$dist/$name.${program%%:*}.cdx.json"
  done
  # By this name on PATH, kubectl calls it: kubectl artemis lint -
  ln -s artemis "$tree/kubectl-artemis"
  cp -R --parents openchoreo/rendered istio/cells istio/stages adversary/manifests LICENSE README.md CHANGELOG.md "$tree"
  tar -C "$work" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --mode='u+rwX,go+rX,go-w' -cf - "$name" |
    gzip -9n >"$dist/$name.tar.gz"
done
(cd "$dist" && sha256sum -- * >checksums.txt)

# What was packed for this machine runs, says its version, and is a plugin of kubectl by its name.
here=$work/here
mkdir "$here"
tar -xzf "$dist/artemis_${VERSION#v}_$(go env GOOS)_$(go env GOARCH).tar.gz" -C "$here" --strip-components=1
[[ $("$here/artemis" version) == "artemis $VERSION "* ]] || { echo "error: artemis version says $("$here/artemis" version)" >&2; exit 1; }
"$here/kubectl-artemis" --help | grep -q '^  kubectl artemis \[command\]' || { echo "error: kubectl-artemis does not say how kubectl calls it" >&2; exit 1; }
(cd / && "$here/artemis" lint >/dev/null && "$here/artemis" explain --from orion/comms-system --to orion/guidance-nav /position >/dev/null)
(cd "$dist" && sha256sum --quiet -c checksums.txt && ls -l)
