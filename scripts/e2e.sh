#!/usr/bin/env bash
# The dashboard in a real headless Chromium, with axe, against a suite of its own. Needs Node and Chromium; installs the rest.
# usage: scripts/e2e.sh [--screenshots]   the second form writes docs/images/*.png instead of testing
set -euo pipefail
case "${1:-}" in
  -h | --help) sed -n '2,3s/^# //p' "$0"; exit 0 ;;
  '' | --screenshots) ;;
  *) echo "e2e.sh takes --screenshots or nothing" >&2; exit 2 ;;
esac
cd "$(dirname "$0")/.."
make -s binaries # or it would be a dashboard of before
cd service/dashboard/e2e
command -v node >/dev/null || { echo "the dashboard's tests need Node 20 or newer: https://nodejs.org" >&2; exit 1; }
[[ -d node_modules/playwright-core && -d node_modules/axe-core ]] || npm ci --no-audit --no-fund --silent
if [[ ${1:-} == --screenshots ]]; then exec node screenshots.js; fi
exec npm test --silent
