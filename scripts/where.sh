#!/usr/bin/env bash
# Runs `status`, `stage STAGE` or `attack` where the mission runs: on this machine, or else on the cluster.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
  cat <<'TEXT'
usage: scripts/where.sh status | stage open|mtls|zero-trust | attack [ARG...]

Uses the local suite when one runs here, else the cluster of the current kubectl
context. WHERE=local or WHERE=cluster decides it by hand.
TEXT
}

case "${1:-}" in
  -h | --help) usage; exit 0 ;;
  status | stage | attack) ;;
  *) usage >&2; exit 2 ;;
esac

where=${WHERE:-}
if [[ -z $where ]]; then
  if bin/artemis status --json >/dev/null 2>&1; then
    where=local
  elif command -v kubectl >/dev/null && kubectl get --request-timeout=3s projectreleasebindings >/dev/null 2>&1; then
    where=cluster
  else
    echo "nothing runs here and no cluster with the mission answers: start with 'make up', or 'make k3d-up build deploy'" >&2
    exit 1
  fi
fi

case "$where/$1" in
  local/*) exec bin/artemis "$@" ;;
  cluster/status) exec scripts/status.sh ;;
  cluster/attack) exec scripts/attack.sh "${@:2}" ;;
  cluster/stage) exec scripts/stage.sh "${2:?which stage: open, mtls or zero-trust}" ;;
  *) echo "WHERE is '$where': it takes local or cluster" >&2; exit 2 ;;
esac
