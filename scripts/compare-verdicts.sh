#!/usr/bin/env bash
# Runs the campaign at all three stages on the cluster and on the local suite, and compares the verdicts attack by attack.
# Attacks that depend on how pods are captured are compared against the netns capture. Writes verdicts/*.json.
. "$(dirname "$0")/lib.sh"
usage_if_asked "$@"
reachable
mkdir -p verdicts
make binaries
verdicts() { jq -r '.results[] | [.stage, .id, .verdict] | @tsv' "$1" | sort; }

step "the cluster"
for stage in open mtls zero-trust; do
  scripts/stage.sh "$stage"
  bin/artemis attack --stage "$stage" --json >"verdicts/cluster-$stage.json"
done
step "this machine"
bin/artemis up --detach --stage open --gateway 127.0.0.1:19081
trap 'bin/artemis down' EXIT
bin/artemis attack --all-stages --url http://development-default.openchoreoapis.localhost:19081 --json >verdicts/local.json

verdicts verdicts/local.json >verdicts/local.tsv
for stage in open mtls zero-trust; do verdicts "verdicts/cluster-$stage.json"; done | sort >verdicts/cluster.tsv
if diff -u verdicts/local.tsv verdicts/cluster.tsv; then
  note "$(wc -l <verdicts/local.tsv) verdicts, the same on both"
else
  die "the cluster and the local suite disagree: the lines above"
fi
