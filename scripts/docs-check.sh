#!/usr/bin/env bash
# Runs every command of the documentation's console blocks, in order, and compares what it prints with what the page says.
# usage: scripts/docs-check.sh [FILE...]   default: README.md, docs/tour.md, docs/from-the-article.md, docs/lint.md, docs/explain.md and docs/prove.md
set -euo pipefail
cd "$(dirname "$0")/.."
[[ ${1:-} != --help && ${1:-} != -h ]] || { sed -n '2,3s/^# //p' "$0"; exit 0; }
(($#)) || set -- README.md docs/tour.md docs/from-the-article.md docs/lint.md docs/explain.md docs/prove.md
trap 'bin/artemis down >/dev/null 2>&1 || true' EXIT
bin/artemis down >/dev/null 2>&1 || true
python3 scripts/docs-check.py "$@"
