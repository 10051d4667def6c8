#!/usr/bin/env bash
# The same work by others, in one run with ours: Caddy as the two node proxies and the waypoint between a caller and a program of the suite
# (plain HTTP, mTLS, authorization by identity, method and path, mTLS, plain HTTP), and podinfo as a service with metrics on. Both are built
# from their Go modules. usage: scripts/bench-peers.sh URL LASTS   URL: the program, on its own loopback; LASTS: of each measurement, as 3s
set -euo pipefail
cd "$(dirname "$0")/.."
[[ ${1:-} != --help && ${1:-} != -h ]] || { sed -n '2,4s/^# //p' "$0"; exit 0; }
url=$1 lasts=$2
# shellcheck source=versions.env
. ./versions.env
command -v openssl >/dev/null || { echo "openssl is missing: it makes the certificates of Caddy" >&2; exit 1; }

peers=$PWD/bin/peers
for p in "github.com/caddyserver/caddy/v2/cmd/caddy@$CADDY_VERSION" "github.com/stefanprodan/podinfo/cmd/podinfo@$PODINFO_MODULE_VERSION"; do
  GOBIN=$peers go install "$p"
done

dir=$(mktemp -d)
started=()
trap 'kill "${started[@]}" 2>/dev/null || true; rm -rf "$dir"' EXIT
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
unanswered() { # URL
  {
    echo "$1 was not answered 200 within a minute; what the programs say:"
    tail -n 3 "$dir"/*.log
    echo "what runs and listens:"
    ps -o pid,stat,time,args -p "$(IFS=,; echo "${started[*]}")" || true
    ss -Htlnp | grep -E "pid=($(IFS='|'; echo "${started[*]}"))," || true
    echo "what is answered:"
    curl -sS -v -m 2 -o /dev/null "$1" || true
    curl -sS -v -m 2 -o /dev/null "$url" || true
  } >&2
  exit 1
}
await() { # URL: until it is answered 200. A proxy answers before what is behind it does.
  local deadline=$((SECONDS + 60))
  until curl -sf -o /dev/null -m 2 "$1"; do
    ((SECONDS < deadline)) || unanswered "$1"
    read -rt 0.1 <> <(:) || true
  done
}
resident() { awk '/^VmRSS/ {printf "%.0f MiB", $2 / 1024}' "/proc/$1/status"; }
compare() { # NAME CONNECTIONS "direct figures" "figures"
  awk -v n="$1" -v c="$2" -v d="$3" -v g="$4" 'BEGIN {split(d, x, " "); split(g, y, " ");
    printf "%-24s %2d connections: %s   %.2f of the requests/s, %.2f times the p50\n", n, c, g, y[1] / x[1], y[2] / x[2]}'
}

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /O=peers -keyout "$dir/ca.key" -out "$dir/ca.crt" 2>/dev/null
for name in caller waypoint callee; do
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$name" -keyout "$dir/$name.key" -out "$dir/$name.csr" 2>/dev/null
  openssl x509 -req -in "$dir/$name.csr" -CA "$dir/ca.crt" -CAkey "$dir/ca.key" -CAcreateserial -days 1 -extfile <(echo "subjectAltName=DNS:$name") -out "$dir/$name.crt" 2>/dev/null
done
outer=$(free_port) middle=$(free_port) inner=$(free_port)
program=${url#http://} path=/${program#*/}
program=${program%%/*}
site() { # NAME PORT: what listens with the identity NAME, for certificates of the same authority
  printf '{\n admin off\n auto_https disable_redirects\n persist_config off\n log {\n  level ERROR\n }\n servers {\n  strict_sni_host insecure_off\n }\n}\nhttps://:%s {\n bind 127.0.0.1\n tls %s.crt %s.key {\n  client_auth {\n   mode require_and_verify\n   trust_pool file %s/ca.crt\n  }\n }\n' "$2" "$dir/$1" "$dir/$1" "$dir"
}
onward() { # IDENTITY PEER PORT
  printf 'reverse_proxy https://127.0.0.1:%s {\n transport http {\n  tls_client_auth %s.crt %s.key\n  tls_trust_pool file %s/ca.crt\n  tls_server_name %s\n  keepalive_idle_conns_per_host 64\n }\n}\n' "$3" "$dir/$1" "$dir/$1" "$dir" "$2"
}
{
  printf '{\n admin off\n auto_https off\n persist_config off\n log {\n  level ERROR\n }\n}\nhttp://127.0.0.1:%s {\n bind 127.0.0.1\n' "$outer"
  onward caller waypoint "$middle"
  echo '}'
} >"$dir/caller.caddy"
{
  site waypoint "$middle"
  printf ' @listed {\n  method GET\n  path %s\n  vars {http.request.tls.client.subject} CN=caller\n }\n handle @listed {\n' "$path"
  onward waypoint callee "$inner"
  printf ' }\n handle {\n  respond 403\n }\n}\n'
} >"$dir/waypoint.caddy"
{
  site callee "$inner"
  printf ' reverse_proxy %s {\n  transport http {\n   keepalive_idle_conns_per_host 64\n  }\n }\n}\n' "$program"
} >"$dir/callee.caddy"
for name in caller waypoint callee; do
  HOME=$dir "$peers/caddy" run --adapter caddyfile --config "$dir/$name.caddy" >"$dir/$name.log" 2>&1 &
  started+=($!)
done
await "http://127.0.0.1:$outer$path"
other=$(curl -s -o /dev/null -w '%{http_code}' "http://127.0.0.1:$outer/elsewhere")
[[ $other == 403 ]] || { echo "Caddy answers $other to who is not listed, not 403: that would be other work" >&2; cat "$dir"/*.log >&2; exit 1; }
for c in 1 16; do
  direct=$(bin/load -c "$c" -d "$lasts" "$url")
  compare "direct" "$c" "$direct" "$direct"
  compare "Caddy ${CADDY_VERSION}" "$c" "$direct" "$(bin/load -c "$c" -d "$lasts" "http://127.0.0.1:$outer$path")"
done
printf 'resident after that: the three Caddys %s, %s, %s\n' "$(resident "${started[0]}")" "$(resident "${started[1]}")" "$(resident "${started[2]}")"

port=$(free_port)
"$peers/podinfo" --host 127.0.0.1 --port "$port" --level error >"$dir/podinfo.log" 2>&1 &
pid=$!
started+=("$pid")
await "http://127.0.0.1:$port/version"
printf 'podinfo, idle: %s; its binary %s bytes\n' "$(resident "$pid")" "$(stat -c %s "$peers/podinfo")"
for _ in 1 2 3; do # in turns: the machine is not the same all the time
  ours=$(bin/load -c 16 -d "$lasts" "$url")
  compare "podinfo to our service" 16 "$ours" "$(bin/load -c 16 -d "$lasts" "http://127.0.0.1:$port/version")"
done
printf 'podinfo, after that: %s\n' "$(resident "$pid")"
