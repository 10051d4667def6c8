#!/usr/bin/env bash
# Runs the whole campaign at all three stages, each time on a suite of its own: under both captures, and with real Envoys as the waypoints.
# Fails on any verdict but the expected one, and when one of them cannot be had. usage: scripts/campaign.sh [netns|proxy|envoy]...
set -euo pipefail
cd "$(dirname "$0")/.."
[[ ${1:-} != --help && ${1:-} != -h ]] || { sed -n '2,3s/^# //p' "$0"; exit 0; }
make -s binaries

state=$(mktemp -d)
trap 'bin/artemis down --state-dir "$state" >/dev/null 2>&1 || true; rm -rf "$state"' EXIT
failed=0
(($#)) || set -- netns proxy envoy
for one in "$@"; do
  case $one in
    netns | proxy) how=(--capture "$one") ;;
    envoy) scripts/envoy.sh && how=(--capture netns --waypoint envoy) ;;
    *) printf '%s: it takes netns, proxy, envoy\n' "$one" >&2 && exit 2 ;;
  esac
  printf '\n== %s\n' "${how[*]}"
  bin/artemis up --detach --state-dir "$state" --gateway 127.0.0.1:0 --stage open "${how[@]}" >/dev/null
  bin/artemis attack --all-stages --state-dir "$state" || failed=1
  bin/artemis down --state-dir "$state" >/dev/null
done
exit "$failed"
