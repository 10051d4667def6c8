#!/usr/bin/env bash
# All figures of docs/performance.md: start, memory, size, the mesh's ratios on the running suite under both captures and with Envoys, peers on
# the same work, and the packages' benchmarks, compared by benchstat with those in docs/benchmarks.txt. Figures depend on the machine; ratios
# within one run are what counts.
# usage: scripts/bench.sh [quick|save]
#   quick: too short to hold the times to their bounds, and without the peers: their figures say nothing of this suite (CI)
#   save:  the packages' benchmarks only, six times, and docs/benchmarks.txt is what they say
set -euo pipefail
cd "$(dirname "$0")/.."
case "${1:-}" in
  -h | --help) sed -n '2,7s/^# //p' "$0"; exit 0 ;;
  save) count=6 ;;
  quick) lasts=1s; benchtime=100ms; count=1 short=-short ;;
  '') lasts=4s; benchtime=1s; count=3 ;;
  *) echo "bench.sh takes quick, save or nothing" >&2; exit 2 ;;
esac
# shellcheck source=versions.env
. ./versions.env
bounds=0 # exit status: 1 when a benchmark's own bound does not hold
packages() { # BENCHTIME COUNT: in the form that benchstat reads
  local failed=0
  go test ${short:+"$short"} -p 1 -run '^$' -bench . -benchmem -benchtime "$1" -count "$2" ./service/... ./policy/... ./local/hbone/... ./local/mesh/... >"$state/packages.txt" || failed=1
  # Of several runs of a benchmark go test counts only the first's failure.
  if ((failed)) || grep -q -e '--- FAIL' "$state/packages.txt"; then
    grep -A12 -E 'FAIL|panic' "$state/packages.txt" >&2
    echo "a benchmark failed, or its bound does not hold: above" >&2
    bounds=1
  fi
  grep -E '^(Benchmark|pkg:|goos:|goarch:|cpu:)' "$state/packages.txt" | grep -v -e '--- FAIL'
}
make -s binaries
CGO_ENABLED=0 go build -o bin/load ./local/bench/load

state=$(mktemp -d)
seen=$(mktemp -d /var/tmp/artemis-bench-XXXXXX) # what is run in pods: they see no home and no repository
trap 'bin/artemis down --state-dir "$state" >/dev/null 2>&1 || true; rm -rf "$state" "$seen"' EXIT
chmod 755 "$seen"
cp bin/load "$seen/"
if [[ ${1:-} == save ]]; then
  packages 300ms "$count" >"$state/benchmarks.txt"
  cp "$state/benchmarks.txt" docs/benchmarks.txt
  exit "$bounds"
fi
up() { bin/artemis up --detach --state-dir "$state" --gateway 127.0.0.1:0 --share "$seen" "$@"; }
down() { bin/artemis down --state-dir "$state" >/dev/null; }
in_pod() { bin/artemis --state-dir "$state" exec "$@"; }
resident() { # of all processes of the suite, MiB
  { pgrep -f "state-dir[ =]$state" || true; bin/artemis --state-dir "$state" status --json | jq -r '.pods[].pid'; } | sort -u |
    while read -r pid; do awk '/^VmRSS/ {print $2}' "/proc/$pid/status" 2>/dev/null; done | awk '{s += $1} END {printf "%.0f", s / 1024}'
}

printf '== start: the binaries built, to every pod ready and the first attack denied (s)\n'
for run in 1 2 3; do
  began=$(date +%s.%N)
  up --stage zero-trust >/dev/null
  ready=$(date +%s.%N)
  code=$(in_pod orion/life-support -- curl -s -m 5 -o /dev/null -w '%{http_code}' http://guidance-nav:8080/position)
  denied=$(date +%s.%N)
  [[ $code == 403 ]] || { echo "the attack got $code, not 403" >&2; exit 1; }
  awk -v r="$run" -v a="$began" -v b="$ready" -v c="$denied" 'BEGIN {printf "run %d: ready %.2f, denied %.2f\n", r, b - a, c - a}'
  ((run == 3)) || down
done
one=$(bin/artemis --state-dir "$state" status --json | jq -r '.pods[] | select(.component == "guidance-nav") | .pid')
printf '== memory, idle: whole suite %s MiB; one service %s MiB\n' "$(resident)" "$(awk '/^VmRSS/ {printf "%.1f", $2 / 1024}' "/proc/$one/status")"
down
printf '== size of the stripped service binary: %s bytes\n' "$(stat -c %s bin/service)"

for how in "netns builtin" "proxy builtin" "netns envoy"; do
  read -r capture waypoint <<<"$how"
  printf '== a call between two pods, capture %s, waypoint %s: requests/s, p50 ms, p99 ms, errors; ratios to the same program on its own loopback\n' "$capture" "$waypoint"
  if [[ $waypoint == envoy && ! -x bin/waypoint-config ]]; then
    echo "not measured: \`make envoy\` was not run"
    continue
  fi
  up --stage open --capture "$capture" --waypoint "$waypoint" --without-adversary >/dev/null
  own=http://127.0.0.1:8080/position
  if [[ $capture == proxy ]]; then
    # Without a network of its own the program listens where the capture put it.
    pid=$(bin/artemis --state-dir "$state" status --json | jq -r '.pods[] | select(.component == "guidance-nav") | .pid')
    own=http://$(tr '\0' '\n' <"/proc/$pid/environ" | sed -n 's/^LISTEN_ADDRESS=//p'):$(tr '\0' '\n' <"/proc/$pid/environ" | sed -n 's/^PORT=//p')/position
  fi
  for c in 1 16; do
    direct=$(in_pod orion/guidance-nav -- "$seen/load" -c "$c" -d "$lasts" "$own")
    printf '%-12s %2d connections: %s\n' direct "$c" "$direct"
    for stage in open mtls zero-trust; do
      bin/artemis --state-dir "$state" stage "$stage" >/dev/null
      got=$(in_pod orion/comms-system -- "$seen/load" -c "$c" -d "$lasts" http://guidance-nav:8080/position)
      awk -v s="$stage" -v c="$c" -v d="$direct" -v g="$got" 'BEGIN {split(d, x, " "); split(g, y, " ");
        printf "%-12s %2d connections: %s   %.2f of the requests/s, %.2f times the p50\n", s, c, g, y[1] / x[1], y[2] / x[2]}'
    done
    bin/artemis --state-dir "$state" stage open >/dev/null
  done
  if [[ $capture == proxy && ${1:-} != quick ]]; then
    printf '== the same work by others (scripts/bench-peers.sh)\n'
    scripts/bench-peers.sh "$own" "$lasts"
  fi
  down
done

printf '== packages, and what benchstat makes of them beside docs/benchmarks.txt\n'
packages "$benchtime" "$count" >"$state/benchmarks.txt"
go run "golang.org/x/perf/cmd/benchstat@$BENCHSTAT_VERSION" saved=docs/benchmarks.txt now="$state/benchmarks.txt"
exit "$bounds"
