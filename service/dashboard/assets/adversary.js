// The attack panel: the campaign's attacks, what came of each with its evidence, and the matrix that fills as one plays.
// The attacker's console decides nothing here: it reports what its pods saw.
import { $, h, announce } from "./dom.js";
import { call, reason, paths } from "./net.js";
import { verdict, number, time } from "./format.js";
import { stage } from "./state.js";

const story = ["abort", "maneuver", "vitals", "uplink"];
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

  const isStory = (a) => a.category === "story" || story.some((id) => a.id === id || a.id.startsWith(id + "-"));
  const seen = new Map(); // "attack|stage" -> result
  const rows = new Map();
  let playing = false;

  function draw() {
    online.textContent = state.streams.console === "absent" || !state.attacks.length
      ? (state.streams.console === "lost" ? "The attacker's console does not answer." : "The attacker is not in. On a cluster: make adversary.")
      : `${state.attackers.filter((a) => a.online).length} of ${state.attackers.length} attackers online`;
    all.disabled = four.disabled = !state.attacks.length || playing;
    for (const a of [...state.attacks].sort((x, y) => isStory(y) - isStory(x))) {
      let row = rows.get(a.id);
      if (!row) {
        const cells = stages.map(() => h("td", { class: "mid" }, "·"));
        const launch = h("button", { type: "button", "aria-label": `launch: ${a.title}`, onclick: () => one(a) }, "Go");
        row = { cells, launch };
        rows.set(a.id, row);
        body.append(h("tr", { class: isStory(a) ? "story" : "" }, h("td", { title: a.story || "" }, a.title, h("br"), h("small", {}, a.attacker || "")), cells, h("td", {}, launch)));
      }
      row.launch.disabled = playing;
      stages.forEach((g, i) => {
        const r = seen.get(`${a.id}|${g}`);
        const expected = a.expect && a.expect[g];
        if (!r) { row.cells[i].replaceChildren("·"); row.cells[i].title = expected ? `expected: ${verdict(expected.verdict).word}` : ""; return; }
        const v = verdict(r.verdict);
        row.cells[i].replaceChildren(h("button", { "type": "button", "class": `v-${r.verdict}`, "aria-label": `${a.title} at ${g}: ${v.word}, show evidence`, "onclick": () => show(r) }, v.mark, layerOf(r)));
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
      h("p", {}, "On the wire: ", h("code", {}, e.error ? e.error : `${e.status || "no status"} ${(e.body || "").slice(0, 300)}`)),
      r.decision ? h("p", {}, "The log: ", h("code", {}, [r.decision.hop, r.decision.policy, r.decision.rule, r.decision.reason].filter(Boolean).join(" · "))) : null,
      r.control ? h("p", {}, h("small", {}, `control: ${JSON.stringify(r.control).slice(0, 300)}`)) : null,
      a.limits ? h("p", {}, h("b", {}, "Limits: "), a.limits) : null,
      h("details", {}, h("summary", {}, "everything"), h("pre", {}, JSON.stringify(r, null, 1).slice(0, 6000))));
  }

  const headline = { "allowed": "The attack succeeded", "denied-l7": "Threat neutralised: authorization", "denied-l4": "Threat neutralised: identity", "denied-network": "Threat neutralised: network policy", "target-down": "No verdict: the target is down", "attacker-down": "No verdict: the attacker is down", "unknown": "No verdict: not enough evidence" };

  store.on("result", (r) => {
    const at = r.stage || stage(state);
    if (at) seen.set(`${r.id}|${at}`, r);
    const a = state.attacks.find((x) => x.id === r.id) || { title: r.id };
    const v = verdict(r.verdict);
    latest.className = `verdict v-${r.verdict}`;
    latest.replaceChildren(`${v.mark} ${headline[r.verdict] || v.word}`, h("small", {}, `${a.title}${r.layer ? ` · answered by layer ${r.layer}` : ""}${at ? ` · stage ${at}` : ""}`));
    announce(`${a.title}: ${headline[r.verdict] || v.word}`);
    draw();
  });

  async function one(a) {
    latest.className = "verdict v-none";
    latest.replaceChildren(`${a.title} …`, h("small", {}, a.story || ""));
    const known = state.results.length;
    const r = await call("POST", `${paths.console}attacks/${encodeURIComponent(a.id)}`, {});
    if (!r.ok) {
      latest.className = "verdict v-failed";
      latest.replaceChildren("The attack was not launched", h("small", {}, reason(r)));
      return;
    }
    // Its result comes over the stream; the next attack of a series waits for it.
    await new Promise((resolve) => {
      const until = Date.now() + 30000;
      const look = () => (state.results.slice(known).some((x) => x.id === a.id) || Date.now() > until ? resolve() : setTimeout(look, 100));
      look();
    });
  }

  async function many(list) {
    if (playing) return;
    playing = true;
    draw();
    for (const a of list) await one(a);
    playing = false;
    draw();
    announce("All attacks have been played.");
  }

  for (const name of ["attacks", "attackers", "suite", "streams"]) store.on(name, draw);
  draw();
  return { story: () => many(state.attacks.filter(isStory)), all: () => many(state.attacks) };
}
