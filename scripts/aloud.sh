#!/usr/bin/env bash
# Runs a command, passes on what it prints, and says after every ten silent seconds that it is still at work. Its exit code is the command's.
# usage: scripts/aloud.sh WHAT-IT-DOES COMMAND [ARG...]
set -euo pipefail
case "${1:-}" in
  -h | --help) sed -n '2,3s/^# //p' "$0"; exit 0 ;;
esac
(($# >= 2)) || { sed -n '3s/^# //p' "$0" >&2; exit 2; }
what=$1
shift
said=$(mktemp -d)
trap 'rm -rf "$said"' EXIT
mkfifo "$said/pipe"
"$@" >"$said/pipe" 2>&1 &
trap 'kill "$!" 2>/dev/null; exit 130' INT TERM # what runs in the background hears no Ctrl-C
exec 3<"$said/pipe"
while true; do
  since=$SECONDS
  if IFS= read -r -t 10 line <&3; then
    printf '%s\n' "$line"
    continue
  fi
  printf '%s' "$line" # what was not a whole line
  ((SECONDS - since >= 9)) || break # it failed at once: the end, which the bash of macOS does not tell from a time-out
  printf '%s: %d s\n' "$what" "$SECONDS"
done
wait "$!"
