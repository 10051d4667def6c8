#!/usr/bin/env bash
# Lets the attacker in: the rogue pods, their bypass Services and the attacker's console. `scripts/adversary.sh --out` throws them out.
. "$(dirname "$0")/lib.sh"
usage_if_asked "$@"
reachable
if [[ ${1:-} == --out ]]; then
  step "the attacker's pods go"
  k delete --ignore-not-found --wait -f adversary/manifests >/dev/null
  exit 0
fi
step "the attacker's pods come in"
# Namespaces first: the files are in the order of their names.
k apply --server-side --field-manager=artemis-adversary -f adversary/manifests >/dev/null
[[ -z ${WITHOUT_PODS:-} ]] || exit 0
while read -r ns name; do
  wait_for "$ns" condition=Available "deployment/$name"
  note "$ns/$name"
done < <(k get -f adversary/manifests -o jsonpath='{range .items[?(@.kind=="Deployment")]}{.metadata.namespace}{" "}{.metadata.name}{"\n"}{end}')
