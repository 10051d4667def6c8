#!/usr/bin/env bash
# Follows docs/adding-a-service.md to the letter in a copy of the tree, up to a mission of nineteen services. usage: scripts/test-adding-a-service.sh
set -euo pipefail
cd "$(dirname "$0")/.."
case "${1:-}" in
  -h | --help) sed -n '2s/^# //p' "$0"; exit 0 ;;
  '') ;;
  *) echo "test-adding-a-service.sh takes no arguments" >&2; exit 2 ;;
esac
copy=$(mktemp -d)
chmod 755 "$copy" # the suite reads it as another user where root starts it
cleanup() {
  "$copy/bin/artemis" down --state-dir "$copy/.artemis" >/dev/null 2>&1 || true
  rm -rf "$copy"
}
trap cleanup EXIT
git ls-files -z | tar --null -cf - -T - | tar -xf - -C "$copy"
cd "$copy"
git init -q . && git add -A
python3 scripts/follow-page.py docs/adding-a-service.md
echo "docs/adding-a-service.md was followed, and all is as it says"
