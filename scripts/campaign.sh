#!/usr/bin/env bash
# Runs the whole campaign at all three stages under both captures, each on a suite of its own; fails on any verdict but the expected
# one, and when a capture could not be had. usage: scripts/campaign.sh [netns|proxy]   default: both
set -euo pipefail
cd "$(dirname "$0")/.."
[[ ${1:-} != --help && ${1:-} != -h ]] || { sed -n '2,3s/^# //p' "$0"; exit 0; }
make -s binaries

state=$(mktemp -d)
trap 'bin/artemis down --state-dir "$state" >/dev/null 2>&1 || true; rm -rf "$state"' EXIT
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
failed=0
for capture in "${@:-netns proxy}"; do
  for one in $capture; do
    printf '\n== capture %s\n' "$one"
    bin/artemis up --detach --state-dir "$state" --gateway "127.0.0.1:$port" --stage open --capture "$one" >/dev/null
    bin/artemis attack --all-stages --state-dir "$state" || failed=1
    bin/artemis down --state-dir "$state" >/dev/null
  done
done
exit "$failed"
