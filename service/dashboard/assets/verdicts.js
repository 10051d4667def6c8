// Words, shapes and colours of a result, by who wins. The verdict itself is the judge's, in Go; nothing is judged here.
import { cellOf, peer } from "./format.js";

export const layers = [
  { layer: 1, name: "wall", stage: "open", what: "NetworkPolicy", about: "what is isolated" },
  { layer: 2, name: "lock", stage: "mtls", what: "mTLS identity", about: "who is calling" },
  { layer: 3, name: "waypoint", stage: "zero-trust", what: "authorization", about: "what is allowed" },
];
export const stages = layers.map((l) => l.stage);

const shown = {
  "allowed": { wins: "attacker", mark: "☠", word: "BREACHED" },
  "denied-network": { wins: "mission", mark: "1", word: "STOPPED BY 1 · WALL" },
  "denied-l4": { wins: "mission", mark: "2", word: "STOPPED BY 2 · LOCK" },
  "denied-l7": { wins: "mission", mark: "3", word: "STOPPED BY 3 · WAYPOINT" },
  "target-down": { wins: "nobody", mark: "✕", word: "NO VERDICT · the target is down" },
  "attacker-down": { wins: "nobody", mark: "✕", word: "NO VERDICT · the attacker is down" },
  "unknown": { wins: "nobody", mark: "?", word: "NO VERDICT · not enough evidence" },
};

// breached reports whether an attack got through and got what it wanted.
export const breached = (result) => result?.verdict === "allowed" && result.evidence?.effect !== false;

// outcome returns how a result is shown. A request that was let through and came to nothing is no breach. Where a layer answered that is not the verdict's usual one, the layer is what counts.
export function outcome(result) {
  if (result.verdict === "allowed" && !breached(result)) return { wins: "vain", mark: "○", word: "LET THROUGH, GAINED NOTHING" };
  const v = shown[result.verdict] || { wins: "nobody", mark: "?", word: `NO VERDICT · ${result.verdict}` };
  const l = v.wins === "mission" && layers[(result.layer || 0) - 1];
  return l ? { ...v, mark: String(l.layer), word: `STOPPED BY ${l.layer} · ${l.name.toUpperCase()}` } : v;
}

// decided returns the words and the mark of one decision of the mesh.
export function decided(verdict) {
  return {
    "allowed": { mark: "●", word: "allowed", kind: "allowed" },
    "denied-network": { mark: "1", word: "wall", kind: "refused" },
    "denied-l4": { mark: "2", word: "lock", kind: "refused" },
    "denied-l7": { mark: "3", word: "waypoint", kind: "refused" },
    "failed": { mark: "✕", word: "failed", kind: "failed" },
  }[verdict] || { mark: "?", word: verdict || "unknown", kind: "failed" };
}

// attackerPod returns the pod of an attacker of the campaign as CELL/POD, or its name for one that is no pod.
export function attackerPod(attackers, name) {
  const a = attackers.find((x) => x.name === name);
  return a && a.pod ? `${cellOf(a.namespace)}/${a.pod}` : name;
}

// label is the sentence that stays at the gate that answered: what the attacker saw, who it was, and what the deciding record says.
export function label(result, attackers) {
  const e = result.evidence || {}, d = result.decision;
  const wire = e.status ? String(e.status) : e.fault ? e.fault : "";
  const who = attackerPod(attackers, result.attacker);
  if (result.verdict === "denied-l7" && d?.policy) {
    const policies = d.policy.split(", ").map((p) => p.split("/").pop());
    return `${wire} · ${who} is not in allowFrom: no rule of ${policies.join(", ")} lets it ${(e.sent || "").split(" ").slice(0, 2).join(" ")}`;
  }
  const stolen = breached(result) && consequence(result, null, attackers);
  if (stolen && result.id === "vitals") return `${wire} · ${stolen.lines[0]}`;
  return [wire, (d && d.reason) || result.reason].filter(Boolean).join(" · ");
}

// answering returns the first stage above the given one at which the campaign expects a layer to refuse the attack, or null.
export function answering(attack, stage) {
  return stages.slice(stages.indexOf(stage) + 1).find((g) => /^denied/.test(attack.expect?.[g]?.verdict || "")) || null;
}

// consequence says what a breach did, from what the attacker got back; null for a result that is no breach.
export function consequence(result, attack, attackers) {
  if (!breached(result)) return null;
  const who = attackerPod(attackers, result.attacker);
  const body = result.evidence?.body || "";
  const got = {
    abort: () => ({ title: `MISSION ABORTED by ${who}`, short: "MISSION ABORTED", lines: ["Orion flies to its abort mode. Nobody asked the crew."] }),
    maneuver: () => ({ title: `ORION TURNED by ${who}`, short: "ORION TURNED", lines: ["on its back"] }),
    uplink: () => ({ title: `FALSE ORDER to the crew by ${who}`, short: "FALSE ORDER", lines: ["in the crew's ears"] }),
    vitals: () => ({ title: `CREW DATA STOLEN by ${who}`, short: "HEARTS STOLEN", lines: crew(body) }),
  }[result.id];
  if (got) return { ...got(), who };
  return { title: `BREACHED by ${who}`, lines: [attack?.title || result.id, result.reason], who };
}

// crew reads names and heart rates out of the first bytes of an answer, which may be cut off in the middle.
function crew(body) {
  const found = [...body.matchAll(/"name":"([^"]{1,60})"[^{}]*?"heartRateBpm":([\d.]+)/g)];
  return [found.length ? found.map(([, name, rate]) => `${name.split(" ").pop()} ${Math.round(Number(rate))}`).join(" · ") + " bpm" : body.slice(0, 120)];
}

// callOf says a decision of the log as one line.
export const callOf = (d) => `${peer(d.from)} → ${peer(d.to)}${d.method ? ` ${d.method} ${d.path}` : ""}`;
