// The attack panel: the campaign's attacks, what came of each with its evidence, and the matrix that fills as one plays.
// The attacker's console decides nothing here: it reports what its pods saw.
import { $, h, announce } from "./dom.js";
import { call, reason, paths } from "./net.js";
import { verdict, number, time } from "./format.js";
import { stage } from "./state.js";

const stages = ["open", "mtls", "zero-trust"];

export function makeAdversary(store) {
  const { state } = store;
  const view = $("view-adversary");
  const latest = h("div", { class: "verdict v-none", role: "status" }, "No attack yet", h("small", {}, "Launch one, or all."));
  const online = h("small");
  const all = h("button", { type: "button", class: "main", id: "attack-all", onclick: () => many(state.attacks) }, "Launch all");
  const four = h("button", { type: "button", id: "attack-story", onclick: () => many(state.attacks.filter(isStory)) }, "The four of the story");
  const body = h("tbody");
  const evidence = h("div", { class: "detail", hidden: true });
  view.append(h("div", { class: "tools" }, four, all, online), latest, evidence,
    h("table", {}, h("caption", { class: "hidden" }, "attacks by stage"), h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Attack"), stages.map((g) => h("th", { scope: "col" }, g)), h("th", { scope: "col" }, h("span", { class: "hidden" }, "launch")))), body));

  const isStory = (a) => a.category === "story";
  // Attacks from outside and on the wire are made by no pod: the console cannot send them, `artemis attack` does.
  const byPod = (a) => state.attackers.some((x) => x.name === a.attacker && x.pod);
  const seen = new Map(); // "attack|stage" -> result
  const rows = new Map();
  let playing = false;

  function draw() {
    const pods = state.attackers.filter((a) => a.pod);
    online.textContent = state.streams.console === "absent" || !state.attacks.length
      ? (state.streams.console === "lost" ? "The attacker's console does not answer." : "The attacker is not in. On a cluster: make adversary.")
      : `${pods.filter((a) => a.online).length} of ${pods.length} attackers online`;
    all.disabled = four.disabled = !state.attacks.length || playing;
    for (const a of [...state.attacks].sort((x, y) => isStory(y) - isStory(x))) {
      let row = rows.get(a.id);
      if (!row) {
        const cells = stages.map(() => h("td", { class: "mid" }, "·"));
        const launch = h("button", { type: "button", "aria-label": `${byPod(a) ? "Go" : "CLI"}: ${a.title}`, onclick: () => one(a) }, "Go");
        if (!byPod(a)) launch.replaceChildren("CLI");
        row = { cells, launch };
        rows.set(a.id, row);
        body.append(h("tr", { class: isStory(a) ? "story" : "" }, h("td", { title: a.story || "" }, a.title, h("br"), h("small", {}, a.attacker || "")), cells, h("td", {}, launch)));
      }
      row.launch.disabled = playing || !byPod(a);
      row.launch.title = byPod(a) ? "" : `artemis attack ${a.id}`;
      stages.forEach((g, i) => {
        const r = seen.get(`${a.id}|${g}`);
        const expected = a.expect && a.expect[g];
        if (!r) { row.cells[i].replaceChildren("·"); row.cells[i].title = expected ? `expected: ${verdict(expected.verdict).word}` : ""; return; }
        const v = verdict(r.verdict);
        row.cells[i].replaceChildren(h("button", { "type": "button", "class": `v-${r.verdict}`, "aria-label": `${v.mark}${layerOf(r)} ${a.title} at ${g}: ${v.word}, show evidence`, "onclick": () => show(r) }, v.mark, layerOf(r)));
        row.cells[i].title = v.word;
      });
    }
  }

  const layerOf = (r) => (r.layer ? ` L${r.layer}` : "");

  function show(r) {
    const a = state.attacks.find((x) => x.id === r.id) || {};
    const e = r.evidence || {};
    evidence.hidden = false;
    evidence.replaceChildren(
      h("div", { class: "tools" }, h("b", {}, a.title || r.id), h("button", { type: "button", onclick: () => { evidence.hidden = true; } }, "Close")),
      h("p", {}, a.story || ""),
      h("p", {}, h("small", {}, `${time(r.at)} · attacker ${r.attacker || a.attacker || "–"} · stage ${r.stage || "–"} · ${number(e.durationMs, 1, "ms")}`)),
      h("p", {}, h("b", {}, "Verdict: "), r.reason || verdict(r.verdict).word),
      h("p", {}, "Sent: ", h("code", {}, (e.sent || a.request || "").split("\r\n")[0])),
      h("p", {}, "On the wire: ", h("code", {}, e.error ? e.error : `${e.status || "no status"} ${(e.body || "").slice(0, 300)}`)),
      r.decision ? h("p", {}, "The log: ", h("code", {}, [r.decision.hop, r.decision.policy, r.decision.rule, r.decision.reason].filter(Boolean).join(" · "))) : null,
      controls.has(r.run) ? h("p", {}, h("small", {}, `A legitimate call just before: ${controls.get(r.run).before ? "answered" : "not answered"}; just after: ${controls.get(r.run).after ? "answered" : "not answered"}.`)) : null,
      a.why ? h("p", {}, a.why) : null,
      a.limits ? h("p", {}, h("b", {}, "Limits: "), a.limits) : null,
      h("details", {}, h("summary", {}, "everything"), h("pre", {}, JSON.stringify(r, null, 1).slice(0, 6000))));
  }

  const headline = { "allowed": "The attack succeeded", "denied-l7": "Threat neutralised: authorization", "denied-l4": "Threat neutralised: identity", "denied-network": "Threat neutralised: network policy", "target-down": "No verdict: the target is down", "attacker-down": "No verdict: the attacker is down", "unknown": "No verdict: not enough evidence" };

  // A refused connection is a denial only when a legitimate call went through just before and just after, and the mesh's own log names
  // the decision. Both are asked for here; without them the verdict stays what the wire alone proves.
  const controls = new Map(); // run -> {before, after}
  // A switch of the stage cuts kept connections, the gateway's too; nobody sends a POST again by itself when it finds one cut.
  const send = async (path, body) => { const r = await call("POST", path, body); return r.status === 0 || r.status === 503 ? call("POST", path, body) : r; };
  const control = async () => (await send(`${paths.director}uplink/command`, { type: "telemetry-request" })).ok;
  function judge(r) {
    const around = controls.get(r.run);
    if (r.verdict !== "unknown" || !r.evidence || !r.evidence.fault || !around || !around.after) return r;
    if (!around.before) return { ...r, reason: "the legitimate call failed as well: the target may be down" };
    if (r.evidence.fault === "not-permitted") return { ...r, verdict: "denied-network", layer: 1, reason: `the pod's own kernel refused it: ${r.evidence.error}` };
    const who = state.attackers.find((x) => x.name === r.attacker) || {};
    const { target } = state.attacks.find((x) => x.id === r.id) || {};
    const began = Date.parse(r.at), ended = began + (r.evidence.durationMs || 0) + 2000;
    const d = state.decisions.findLast((x) => x.verdict.startsWith("denied") && Date.parse(x.at) >= began && Date.parse(x.at) <= ended &&
      x.from.namespace === who.namespace && (!x.from.component || x.from.component === who.pod) && (x.to.component === target || (x.to.service || "").startsWith(target)));
    return d ? { ...r, verdict: d.verdict, layer: d.layer, decision: d, reason: `${r.evidence.error || r.evidence.fault}; ${d.reason || d.hop}` } : r;
  }

  function settle(raw) {
    const r = judge(raw);
    const at = r.stage || stage(state);
    if (at) seen.set(`${r.id}|${at}`, r);
    const a = state.attacks.find((x) => x.id === r.id) || { title: r.id };
    const v = verdict(r.verdict);
    latest.className = `verdict v-${r.verdict}${r.verdict === "allowed" ? " alarm" : ""}`;
    latest.replaceChildren(`${v.mark} ${headline[r.verdict] || v.word}`, h("small", {}, `${a.title}${r.layer ? ` · answered by layer ${r.layer}` : ""}${at ? ` · stage ${at}` : ""}`));
    announce(`${a.title}: ${headline[r.verdict] || v.word}`);
    draw();
  }
  const own = new Set(); // runs of this page, which settles them after their second control
  store.on("result", (r) => { if (!own.has(r.run) && !launching) settle(r); });

  let launching = false;
  async function one(a) {
    launching = true;
    latest.className = "verdict v-none";
    latest.replaceChildren(`${a.title} …`, h("small", {}, a.story || ""));
    const before = await control();
    const r = await send(`${paths.console}attacks/${encodeURIComponent(a.id)}`, {});
    if (!r.ok || !r.body) {
      launching = false;
      latest.className = "verdict v-failed";
      latest.replaceChildren("The attack was not launched", h("small", {}, reason(r)));
      return;
    }
    const { run } = r.body;
    own.add(run);
    if (own.size > 200) own.delete(own.values().next().value);
    launching = false;
    const came = () => state.results.findLast((x) => x.run === run);
    const waited = await new Promise((resolve) => {
      const until = Date.now() + 30000;
      const look = () => { const x = came(); if (x || Date.now() > until) resolve(x); else setTimeout(look, 50); };
      look();
    });
    controls.set(run, { before, after: await control() });
    if (controls.size > 200) controls.delete(controls.keys().next().value);
    if (waited) settle(waited);
    else { latest.className = "verdict v-unknown"; latest.replaceChildren("No report from the attacker", h("small", {}, `${a.title}: nothing came within 30 s`)); }
  }

  async function many(list) {
    if (playing) return;
    playing = true;
    draw();
    for (const a of list.filter(byPod)) await one(a);
    playing = false;
    draw();
    announce("All attacks have been played.");
  }

  for (const name of ["attacks", "attackers", "suite", "streams"]) store.on(name, draw);
  draw();
  return { story: () => many(state.attacks.filter(isStory)), all: () => many(state.attacks) };
}
