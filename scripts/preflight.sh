#!/usr/bin/env bash
# Checks that this machine can run the cluster: tools and their versions, Docker, memory, processors, ports.
# Says everything that is missing at once, and how to get it. Changes nothing.
# usage: scripts/preflight.sh [k3d|build]
. "$(dirname "$0")/lib.sh"
usage_if_asked "$@"

problems=()
problem() { problems+=("$1"); }

# at_least HAVE WANT: dotted numbers.
at_least() { [[ $(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1) == "$2" ]]; }

tool() { # NAME WANT HOW-TO-GET VERSION-COMMAND...
  local name=$1 want=$2 get=$3 have
  shift 3
  if ! command -v "$name" >/dev/null; then
    problem "$name is not installed (version $want or newer): $get"
    return
  fi
  have=$("$@" 2>/dev/null | grep -oE '[0-9]+\.[0-9]+(\.[0-9]+)?' | head -n 1 || true)
  if [[ -z $have ]]; then
    problem "$name is there but does not say its version: tried '$*'"
  elif ! at_least "$have" "$want"; then
    problem "$name $have is too old, it takes $want or newer: $get"
  else
    note "$name $have"
  fi
}

step "preflight"
case "${1:-k3d}" in
  build)
    tool go "$GO_VERSION" "https://go.dev/dl" go version
    ;;
  k3d)
    tool docker 26.0 "https://docs.docker.com/engine/install" docker --version
    tool k3d 5.8 "https://k3d.io/stable/#installation" k3d version
    tool kubectl 1.34 "https://kubernetes.io/docs/tasks/tools" kubectl version --client
    tool helm 3.12 "https://helm.sh/docs/intro/install" helm version --short
    if command -v docker >/dev/null; then
      if ! facts=$(docker info --format '{{.NCPU}} {{.MemTotal}}' 2>&1); then
        problem "docker is installed, but its engine does not answer: start Docker, or see whether your user may use it (docker said: ${facts##*$'\n'})"
      else
        read -r cpus memory <<<"$facts"
        gib=$((memory / 1024 / 1024 / 1024))
        ((cpus >= 4)) || problem "Docker has $cpus processors, the cluster takes 4: raise it in Docker's resources"
        ((gib >= 9)) || problem "Docker has $gib GiB of memory, the cluster takes 10: raise it in Docker's resources"
        note "Docker: $cpus processors, $gib GiB"
        # A port is ours already when the cluster exists.
        if ! { command -v k3d >/dev/null && k3d cluster list "$CLUSTER" >/dev/null 2>&1; }; then
          for port in 19080 6550 $([[ ${PROFILE:-lean} != full ]] || echo 8080); do
            if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
              problem "port $port of this machine is in use: stop what listens there (is a local suite running? 'make down')"
            fi
          done
        fi
      fi
    fi
    ;;
  *) die "preflight knows k3d and build, not '$1'" ;;
esac

if ((${#problems[@]})); then
  printf '\nthis machine is not ready:\n' >&2
  printf '  - %s\n' "${problems[@]}" >&2
  exit 1
fi
note "all there"
