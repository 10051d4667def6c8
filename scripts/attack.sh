#!/usr/bin/env bash
# Plays the campaign on the cluster, at the stage that its Cells are at, or with --all-stages at each in turn; the stage that was in force is
# in force again afterwards. ztunnel's and the waypoints' logs name the layers. URL=http://HOST:PORT is another gateway.
# usage: scripts/attack.sh [--all-stages] [ARG of `artemis attack`...]
. "$(dirname "$0")/lib.sh"
usage_if_asked "$@"
reachable
[[ -x bin/artemis ]] || make -s binaries

play() { # STAGE ARG...
  # A suite that runs on this machine is another one: its state directory is not this one's.
  bin/artemis attack --state-dir "$PWD/.artemis/cluster" --stage "$1" --url "${URL:-http://127.0.0.1:19080}" \
    --kubectl "kubectl${KUBE_CONTEXT:+ --context $KUBE_CONTEXT}" "${@:2}"
}
before=$(stage_in_force)
arguments=() all=
for a in "$@"; do
  case "$a" in
    --all-stages) all=1 ;;
    --stage | --stage=*) die "on a cluster the campaign is played at the stage that is in force: make stage-$before and its like switch it" ;;
    *) arguments+=("$a") ;;
  esac
done
if [[ -z $all ]]; then
  play "$before" "${arguments[@]}"
  exit
fi
trap 'scripts/stage.sh "$before"' EXIT
failed=0
for stage in open mtls zero-trust; do
  scripts/stage.sh "$stage"
  play "$stage" "${arguments[@]}" || failed=1
done
exit "$failed"
