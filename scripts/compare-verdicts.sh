#!/usr/bin/env bash
# Runs the campaign at all three stages on the cluster and on the local suite, and compares the verdicts attack by attack.
# Attacks that depend on how pods are captured are compared against the netns capture. Writes verdicts/*.json.
# usage: scripts/compare-verdicts.sh [LOCAL.json CLUSTER.json...]   with files: runs nothing, compares these
. "$(dirname "$0")/lib.sh"
usage_if_asked "$@"
# A cluster has no decision log to ask: which layer has refused a connection is inferred there and says so ("inferred"). Of those
# attacks only that both sides refuse is compared.
inferred() { jq -s '[.[].results[] | select(.inferred) | .stage + "/" + .id]' "$@"; }
verdicts() { # INFERRED FILE...
  jq -r --argjson inferred "$1" '.results[] | (.stage + "/" + .id) as $key | [.stage, .id,
    if (.verdict | startswith("denied-")) and ($inferred | index($key)) then "denied" else .verdict end] | @tsv' "${@:2}" | sort
}
compare() { # LOCAL.json CLUSTER.json...
  local ours theirs open
  open=$(inferred "$@")
  ours=$(verdicts "$open" "$1") theirs=$(verdicts "$open" "${@:2}")
  [[ -n $ours ]] || die "$1 holds no verdicts"
  diff -u --label local --label cluster <(echo "$ours") <(echo "$theirs") || die "the cluster and the local suite disagree: the lines above"
  note "$(wc -l <<<"$ours") verdicts, the same on both"
}
(($# == 0)) || { compare "$@"; exit; }

reachable
mkdir -p verdicts
make binaries
step "the cluster"
for stage in open mtls zero-trust; do
  scripts/stage.sh "$stage"
  bin/artemis attack --stage "$stage" --json >"verdicts/cluster-$stage.json"
done
step "this machine"
bin/artemis up --detach --stage open --gateway 127.0.0.1:19081
trap 'bin/artemis down' EXIT
bin/artemis attack --all-stages --url http://development-default.openchoreoapis.localhost:19081 --json >verdicts/local.json
compare verdicts/local.json verdicts/cluster-{open,mtls,zero-trust}.json
