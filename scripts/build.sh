#!/usr/bin/env bash
# Builds the service's image with ko and brings it into the k3d cluster, without a registry.
# KO_DEFAULTBASEIMAGE gives another base (offline: one of your own); PLATFORM=linux/arm64 another architecture; PUSH=registry/name pushes
# an image for both architectures instead, with an SBOM.
. "$(dirname "$0")/lib.sh"
usage_if_asked "$@"
scripts/preflight.sh build

VERSION=${VERSION:-$(git describe --tags --always --dirty 2>/dev/null || echo dev)}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
export VERSION SOURCE_DATE_EPOCH
ko() { go run "github.com/google/ko@$KO_VERSION" "$@"; }

if [[ -n ${PUSH:-} ]]; then
  step "image $PUSH:$VERSION for linux/amd64 and linux/arm64"
  KO_DOCKER_REPO=$PUSH ko build --bare --platform=linux/amd64,linux/arm64 --sbom=spdx -t "$VERSION" ./service
  exit 0
fi

archive=$(mktemp -t artemis-image.XXXXXX)
trap 'rm -f "$archive"' EXIT
step "image artemis.local/service:dev from this tree ($VERSION)"
KO_DOCKER_REPO=artemis.local/service ko build --bare --platform="${PLATFORM:-linux/$(go env GOARCH)}" --push=false --sbom=none -t dev --tarball "$archive" ./service >/dev/null
note "$(du -h "$archive" | cut -f1) in all"
if command -v k3d >/dev/null && k3d cluster list "$CLUSTER" >/dev/null 2>&1; then
  step "into the cluster $CLUSTER"
  k3d image import "$archive" -c "$CLUSTER" >/dev/null
elif [[ -n ${IMAGE_ARCHIVE:-} ]]; then
  cp "$archive" "$IMAGE_ARCHIVE"
  note "no cluster $CLUSTER here; written to $IMAGE_ARCHIVE"
else
  die "there is no k3d cluster $CLUSTER to bring the image into" "make k3d-up first, or IMAGE_ARCHIVE=file.tar make build to keep it as a file"
fi
