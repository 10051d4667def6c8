#!/usr/bin/env bash
# The mission proves itself, for every request: at zero-trust that what is admitted is exactly its table of who may call whom; at mtls and
# open it shows what else is, with a line that sends such a request. usage: scripts/prove.sh [--long]
#   --long  also how the proof is tested, at full length: generated pairs of manifests and random claims against brute force, a million
#           random requests, every planted mutation in the live mesh, the workflow of docs/prove.md. A failure names what SEED=N repeats.
set -euo pipefail
cd "$(dirname "$0")/.."
case "${1:-}" in
  "" | --long) ;;
  -h | --help) sed -n '2,6s/^# //p' "$0"; exit 0 ;;
  *) echo "prove.sh takes --long or nothing" >&2; exit 2 ;;
esac
bin/artemis prove
for stage in mtls open; do
  echo
  code=0
  said=$(bin/artemis prove --stage "$stage") || code=$?
  sed -n '1,6p' <<<"$said"
  if ((code != 1)) || ! grep -q '^    bin/artemis exec ' <<<"$said"; then
    echo "at stage $stage the table must not hold, with a request that shows it" >&2
    exit 1
  fi
done
[[ ${1:-} == --long ]] || exit 0

seed=${SEED:-26}
long() { # PACKAGE TESTS FLAG...: without what every test is told by
  local package=$1 tests=$2
  shift 2
  go test -count=1 -timeout 60m "$package" -run "$tests" -v "$@" | grep -v '^=== '
}
printf '\nhow the proof is tested, with seed %s:\n' "$seed"
long ./policy/analysis 'DiffIsWhatBruteForceFinds' -seed "$seed" -pairs 5000
long ./policy/analysis 'DiffOfEverything' -seed "$seed" -pairs 1500
long ./policy/analysis 'NoProofIsContradicted' -seed "$seed" -pairs 5000
long ./policy/analysis 'ThroughAGateway' -seed "$seed" -pairs 5000
long ./policy/analysis 'RandomRequests' -seed "$seed" -requests 1000000
long ./local/mesh 'Mutation' -mutations-every 1
scripts/test-access-workflow.sh
