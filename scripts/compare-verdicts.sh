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
  local ours theirs open both
  open=$(inferred "$@")
  # What only one world can play (listening on the wire takes the launcher) is named and not compared.
  both=$(comm -12 <(keys "$1") <(keys "${@:2}"))
  [[ -n $both ]] || die "$1 and ${*:2} have no attack in common"
  comm -3 <(keys "$1") <(keys "${@:2}") | sed 's/^\t*/not compared, played on one side only: /'
  ours=$(verdicts "$open" "$1" | only "$both") theirs=$(verdicts "$open" "${@:2}" | only "$both")
  diff -u --label local --label cluster <(echo "$ours") <(echo "$theirs") || die "the cluster and the local suite disagree: the lines above"
  note "$(wc -l <<<"$ours") verdicts, the same on both"
}
keys() { jq -r '.results[] | [.stage, .id] | @tsv' "$@" | LC_ALL=C sort; }
only() { grep -F -f <(printf '%s\t\n' "${1//$'\n'/$'\t\n'}"); } # the lines whose stage and id are among these
(($# == 0)) || { compare "$@"; exit; }

reachable
mkdir -p verdicts
make -s binaries
failed=0
step "the cluster"
before=$(stage_in_force)
suite=$(mktemp -d)
trap 'bin/artemis down --state-dir "$suite" >/dev/null 2>&1 || true; rm -rf "$suite"; scripts/stage.sh "$before"' EXIT
for stage in open mtls zero-trust; do
  scripts/stage.sh "$stage"
  # What differs from the expectation is compared too: all stages are played.
  scripts/attack.sh --json >"verdicts/cluster-$stage.json" || failed=1
done
step "this machine"
# A suite of its own, beside whatever else runs here.
bin/artemis up --detach --state-dir "$suite" --stage open --gateway 127.0.0.1:0 >/dev/null
bin/artemis attack --state-dir "$suite" --all-stages --json >verdicts/local.json || failed=1
compare verdicts/local.json verdicts/cluster-{open,mtls,zero-trust}.json
((failed == 0)) || die "both agree, but not with what adversary/campaign.yaml expects: see above"
