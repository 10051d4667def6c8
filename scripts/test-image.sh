#!/usr/bin/env bash
# Builds the image for both architectures with ko, on a base that is made here, twice: same digest, an SBOM for each, nobody's root; and
# runs it in a container runtime (runc). Nothing is pulled: the registry is one of this machine's own. usage: scripts/test-image.sh
set -euo pipefail
cd "$(dirname "$0")/.."
[[ ${1:-} != --help && ${1:-} != -h ]] || { sed -n '2,3s/^# //p' "$0"; exit 0; }
# shellcheck source=versions.env
. ./versions.env

passed=0
ok() { passed=$((passed + 1)); printf 'ok      %s\n' "$*"; }
fail() { printf 'FAILED  %s\n' "$*" >&2; exit 1; }
command -v runc >/dev/null || fail "runc is not installed (Debian: apt-get install runc)"

work=$(mktemp -d)
running='' container=artemis-image-$$
cleanup() {
  [[ -z $running ]] || kill "$running" 2>/dev/null || true
  runc --root "$work/runc" delete --force "$container" >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap cleanup EXIT
GOBIN=$work/bin go install "github.com/google/go-containerregistry/cmd/crane@$CRANE_VERSION"
crane() { "$work/bin/crane" "$@"; }
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
registry=127.0.0.1:$port
"$work/bin/crane" registry serve --address "$registry" --disk "$work" >"$work/registry.log" 2>&1 &
running=$!
for _ in $(seq 100); do crane catalog "$registry" >/dev/null 2>&1 && break; read -rt 0.1 <> <(:) || true; done

# The base: one empty layer, for both architectures, under the user of distroless' nonroot.
tar -cf "$work/empty.tar" -T /dev/null
for arch in amd64 arm64; do
  crane append --oci-empty-base -f "$work/empty.tar" -t "$registry/base:$arch" >/dev/null 2>&1
  crane mutate --set-platform "linux/$arch" --user 65532:65532 -t "$registry/base:$arch" "$registry/base:$arch" >/dev/null 2>&1
done
crane index append -m "$registry/base:amd64" -m "$registry/base:arm64" -t "$registry/base:both" >/dev/null 2>&1
export KO_DEFAULTBASEIMAGE=$registry/base:both VERSION=v0.0.0-test SOURCE_DATE_EPOCH=1700000000

PUSH=$registry/first/service scripts/build.sh >"$work/build.log" 2>&1 || { cat "$work/build.log" >&2; fail "ko build"; }
PUSH=$registry/second/service scripts/build.sh >"$work/build.log" 2>&1 || { cat "$work/build.log" >&2; fail "ko build again"; }
first=$(crane digest "$registry/first/service:$VERSION")
[[ $first == "$(crane digest "$registry/second/service:$VERSION")" ]] || fail "two builds of the same tree differ"
ok "built twice, the same image: $first"

platforms=$(crane manifest "$registry/first/service:$VERSION" | jq -r '[.manifests[].platform | .os + "/" + .architecture] | sort | join(" ")')
[[ $platforms == "linux/amd64 linux/arm64" ]] || fail "the image is for: $platforms"
ok "for $platforms"
for arch in amd64 arm64; do
  one=$(crane digest --platform "linux/$arch" "$registry/first/service:$VERSION")
  documents=$(crane export "$registry/first/service:${one/:/-}.sbom" - | jq '[.packages[].name] | map(select(startswith("github.com/go-chi/chi"))) | length')
  ((documents == 1)) || fail "the SBOM of linux/$arch does not name the router that the service is built on"
  [[ $(crane config --platform "linux/$arch" "$registry/first/service:$VERSION" | jq -r '.config.User') == 65532:65532 ]] || fail "linux/$arch does not run as 65532"
done
ok "an SBOM for each, and user 65532"

mkdir -p "$work/bundle/rootfs"
crane export --platform "linux/$(go env GOARCH)" "$registry/first/service:$VERSION" - | tar -xf - 2>/dev/null -C "$work/bundle/rootfs"
run() { # ARGUMENT... -> what the image's program says, in a container with nothing but the image
  (cd "$work/bundle" && rm -f config.json && runc spec &&
    jq '.process.terminal = false | .process.user = {uid: 65532, gid: 65532} | .process.noNewPrivileges = true | .root.readonly = true
      | .process.args = ["/ko-app/service"] + $ARGS.positional | .process.capabilities = {}
      | .process.env = ["SERVICE_ROLE=weather-station"]' --args -- "$@" <config.json >c.json && mv c.json config.json)
  runc --root "$work/runc" run --bundle "$work/bundle" "$container"
}
said=$(run --version)
[[ $said == *"$VERSION"* ]] || fail "--version in the container says: $said"
ok "in a container of runc, --version says: $said"
echo "$passed passed of the image"
