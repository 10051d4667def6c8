#!/usr/bin/env bash
# Lets the attacker in: the rogue pods, their bypass Services and the attacker's console. `scripts/adversary.sh --out` throws them out.
. "$(dirname "$0")/lib.sh"
usage_if_asked "$@"
reachable
if [[ ${1:-} == --out ]]; then
  step "the attacker's pods go"
  k delete --ignore-not-found --wait="$([[ -z ${WITHOUT_PODS:-} ]] && echo true || echo false)" -f adversary/manifests >/dev/null
  exit 0
fi
step "the attacker's pods come in"
# Namespaces first: everything else lives in them.
mapfile -t with_namespaces < <(grep -l '^kind: Namespace' adversary/manifests/*.yaml)
for pass in "${with_namespaces[@]}" adversary/manifests; do
  k apply --server-side --force-conflicts --field-manager=artemis-adversary -f "$pass" >/dev/null
done
[[ -z ${WITHOUT_PODS:-} ]] || exit 0
while read -r ns name; do
  wait_for "$ns" condition=Available "deployment/$name"
  note "$ns/$name"
done < <(k get -f adversary/manifests -o jsonpath='{range .items[?(@.kind=="Deployment")]}{.metadata.namespace}{" "}{.metadata.name}{"\n"}{end}')
