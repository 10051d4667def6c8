#!/usr/bin/env bash
# Fuzzes every parser that meets the network or a user's files, FUZZTIME (default 10s) each, beginning with the seeds and with what was
# found before. An input that fails is kept below the package's testdata/fuzz: commit it with the mend.
set -euo pipefail
cd "$(dirname "$0")/.."
[[ ${1:-} != --help && ${1:-} != -h ]] || { sed -n '2,3s/^# //p' "$0"; exit 0; }
FUZZTIME=${FUZZTIME:-10s}
ran=0
while IFS=: read -r file name; do
  printf '== %s %s\n' "$(dirname "$file")" "$name"
  go test -run '^$' -fuzz "^$name\$" -fuzztime "$FUZZTIME" -fuzzminimizetime 1x "./$(dirname "$file")" | grep -vE '^(PASS|fuzz: elapsed: [0-9]+s, gathering)' | tail -n 20
  ran=$((ran + 1))
done < <(git grep -oE '^func Fuzz[A-Za-z0-9]+' -- '*_test.go' ':!conformance' | sed 's/func //')
((ran > 10)) || { echo "only $ran fuzzers were found" >&2; exit 1; }
printf '%d fuzzers, %s each: nothing found\n' "$ran" "$FUZZTIME"
