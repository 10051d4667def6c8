#!/usr/bin/env bash
# The workflow of docs/prove.md does what the page says: its own steps run on a repository with a pull request that opens a call, one that
# only reformats, and one that closes a call.
set -euo pipefail
[[ ${1:-} != --help && ${1:-} != -h ]] || { sed -n '2,3s/^# //p' "$0"; exit 0; }
cd "$(dirname "$0")/.."
repository=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# What the workflow runs is taken from the page, so that both are the same.
awk '/^```yaml/ { inside = 1; next } /^```/ { inside = 0 } inside' docs/prove.md |
  awk '/# who can call whom/ { take = 1 } take && /^        run: \|/ { copy = 1; next } copy && /^          / { print substr($0, 11); next } copy { exit }' >"$work/step.sh"
grep -q 'artemis diff' "$work/step.sh" || { echo "docs/prove.md has no workflow with artemis diff any more" >&2; exit 1; }

export PATH="$repository/bin:$PATH" GITHUB_STEP_SUMMARY="$work/summary.md" BASE_REF=main
cd "$work"
git init -q -b main pull && cd pull
git config user.email nobody@example.invalid && git config user.name nobody
mkdir deploy
cp -r "$repository/openchoreo/rendered/orion" "$repository/openchoreo/rendered/houston" deploy/
cp "$repository/istio/cells/orion.yaml" "$repository/istio/cells/houston.yaml" deploy/
git add . && git commit -qm base && git update-ref refs/remotes/origin/main HEAD

pull_request() { # NAME EXPECTED-EXIT-CODE: the change is in the work tree
  git checkout -q -b "$1" && git add . && git commit -qm "$1"
  : >"$GITHUB_STEP_SUMMARY"
  local code=0
  bash -e "$work/step.sh" >"$work/said" 2>&1 || code=$?
  if ((code != $2)); then
    echo "$1: exit code $code, want $2" >&2
    cat "$work/said" "$GITHUB_STEP_SUMMARY" >&2
    exit 1
  fi
  git checkout -q main
}
says() { grep -q -- "$1" "$GITHUB_STEP_SUMMARY" || { echo "the summary does not say: $1" >&2; cat "$GITHUB_STEP_SUMMARY" >&2; exit 1; }; }

sed -i 's|- /maneuver|- "*"|' deploy/orion.yaml
pull_request opens 1
says 'opens'
says 'orion/guidance-nav'
sed -i 's|              - POST|              - "POST"   # reformatted|' deploy/orion.yaml
pull_request reformats 0
says 'no difference'
sed -i '/- \/maneuver/s|/maneuver|/manoeuvre-of-old|; ' deploy/orion.yaml
pull_request renames 1 # what it closes is no reason, what it opens is
python3 - <<'PY'
import re
text = open("deploy/orion.yaml").read()
open("deploy/orion.yaml", "w").write(text.replace("              - /star-tracker\n", ""))
PY
pull_request closes 0
says 'closes'
echo "the workflow of docs/prove.md: a pull request that opens a call fails, one that reformats or closes passes"
