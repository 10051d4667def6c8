// The whole campaign as one heat map, a cell for each attack at each stage, and the evidence of the one that is chosen.
import { $, h, keyed, refill, text, attribute, roving } from "./dom.js";
import { number, time } from "./format.js";
import { stages, layers, breached, outcome, answering, attackerPod } from "./verdicts.js";
import { count } from "./stages.js";

const titles = { story: "The story", identity: "Identities", bypass: "Around the waypoint", header: "Headers", path: "Paths", wire: "Wire", gateway: "Gateway", limits: "Not stopped" };

export function makeBoard(store, act) {
  const view = $("view-attacks");
  const four = h("button", { "type": "button", "class": "main", "id": "attack-story", "aria-keyshortcuts": "a", "onclick": act.story }, "The story's four ", h("kbd", {}, "a"));
  const all = h("button", { type: "button", id: "attack-all", onclick: act.all }, "Whole campaign");
  const online = h("small", { id: "online" });
  const map = h("div", { class: "map", id: "map", role: "group", "aria-label": "all attacks at the three stages; arrow keys go from one to the next" });
  const pointed = h("p", { class: "pointed" });
  const evidence = h("div", { class: "evidence", id: "evidence" });
  view.append(h("div", { class: "tools" }, four, all, online), map, pointed, evidence);
  const settled = roving(map, "button.cellof");
  let chosen = null; // {id, stage}

  function draw(state) {
    const { mode } = state;
    const pods = state.attackers.filter((a) => a.pod);
    text(online, mode === "viewer" ? act.why() : !state.attacks.length
      ? (state.streams.console === "lost" ? "The attacker's console does not answer." : mode === "connecting" ? "" : "The attacker is not in. On a cluster: make adversary.")
      : `${pods.filter((a) => a.online).length} of ${pods.length} attackers online`);
    for (const b of [four, all]) b.disabled = !state.attacks.length || act.busy() || !act.may();
    keyed(map, Object.keys(titles).filter((c) => state.attacks.some((a) => a.category === c)), (c) => c,
      (c) => h("section", { class: "group", "aria-label": titles[c] }, h("h3", {}, titles[c]), h("div", { class: `columns k-${c}` })),
      (section, c) => keyed(section.lastChild, state.attacks.filter((a) => a.category === c), (a) => a.id,
        (a) => h("div", { class: "column" }, stages.map((g) => h("button", { "type": "button", "class": "cellof", "tabindex": "-1", "data-attack": a.id, "data-stage": g, "onclick": () => pick(a.id, g), "onfocus": () => point(a, g), "onmouseenter": () => point(a, g) }))),
        (column, a) => stages.forEach((g, i) => {
          const b = column.children[i], r = state.results[`${a.id}|${g}`];
          const o = r ? outcome(r) : null;
          text(b, o ? o.mark : "");
          attribute(b, "data-wins", o ? o.wins : "none");
          attribute(b, "data-verdict", r ? r.verdict : null);
          attribute(b, "aria-label", `${a.title} at ${g}: ${o ? o.word.toLowerCase() : "not played"}`);
          attribute(b, "aria-pressed", String(!!chosen && chosen.id === a.id && chosen.stage === g));
          b.classList.toggle("now", state.latest?.id === a.id && (state.latest.stage || state.suite?.stage) === g && !state.latest.result);
        })));
    settled();
    const totals = stages.map((g) => { const t = count(state, g, () => true); return t.played ? `${g} ${t.breached + t.vain}/${t.played}${t.vain ? `, ${t.vain} of them for nothing` : ""}` : null; }).filter(Boolean);
    if (!map.querySelector(":hover, :focus-visible")) text(pointed, totals.length ? `Let through: ${totals.join(" · ")}` : "Each column is an attack, each row a stage: open, mtls, zero-trust.");
    show(state);
  }

  function point(a, g) {
    const r = store.state.results[`${a.id}|${g}`];
    text(pointed, `${a.title} · ${g} · ${r ? outcome(r).word : "not played"}`);
  }

  function pick(id, stage) { chosen = { id, stage }; draw(store.state); }

  // show follows the latest attack until somebody chooses another; it is filled anew only when what it shows has changed.
  let shown = "";
  function show(state) {
    const latest = state.latest?.result;
    const id = chosen?.id || latest?.id, stage = chosen?.stage || latest?.stage;
    const attack = state.attacks.find((a) => a.id === id);
    if (!attack) { if (shown !== "none") { shown = "none"; refill(evidence, h("p", {}, h("small", {}, "Choose a cell to see its attack and its evidence."))); } return; }
    const r = chosen ? state.results[`${id}|${stage}`] : latest;
    const moment = JSON.stringify([id, stage, r?.run, act.busy(), act.may(), state.mode, state.difference?.after.run, !!chosen]);
    if (moment === shown) return;
    shown = moment;
    const raise = breached(r) ? answering(attack, r.stage || stage) : null;
    const e = r?.evidence || {}, d = r?.decision, k = r?.control || {};
    const row = (name, ...value) => value.filter(Boolean).length ? h("div", {}, h("dt", {}, name), h("dd", {}, value)) : null;
    const probe = (p) => (p ? `${p.ok ? "answered" : "failed"}: ${p.call}${p.detail ? ` (${p.detail})` : ""}` : "was not made");
    refill(evidence,
      h("div", { class: "tools" }, h("b", { class: "name" }, attack.title),
        h("button", { type: "button", disabled: act.busy() || !act.may() || !act.playable(attack), onclick: () => { chosen = null; act.attack(attack); } }, "Play"),
        raise ? h("button", { type: "button", class: "main", disabled: act.busy() || !act.may(), onclick: () => { chosen = null; act.neutralise(r); } }, "Neutralise") : null,
        chosen ? h("button", { type: "button", onclick: () => { chosen = null; draw(store.state); } }, "Follow the latest") : null),
      act.playable(attack) || !act.may() ? null : h("p", {}, h("small", {}, "From here pods only are ordered: ", h("code", {}, `artemis attack ${attack.id}`))),
      h("p", {}, attack.story),
      r ? h("p", { class: `verdict w-${outcome(r).wins}` }, outcome(r).word) : h("p", {}, h("small", {}, `Not played at ${stage || "any stage"}${attack.expect?.[stage] ? `; expected: ${attack.expect[stage].verdict}` : ""}.`)),
      state.difference?.id === id ? h("p", { class: "difference" }, h("b", {}, `${state.difference.before.stage}: ${outcome(state.difference.before).word}`), " → ", h("b", {}, `${state.difference.after.stage}: ${outcome(state.difference.after).word}`)) : null,
      r ? h("dl", { class: "facts" },
        row("when", `${time(r.at)} · stage ${r.stage || "unknown: it was switched meanwhile"} · ${number(e.durationMs, 1, "ms")}${r.capture === "proxy" ? " · cooperative capture" : ""}`),
        row("who", `${r.attacker} · ${attackerPod(state.attackers, r.attacker)}`),
        row("sent", h("code", {}, (e.sent || attack.request || "").split("\r\n")[0])),
        row("came back", h("code", {}, e.error || `${e.status || "no status"} ${(e.body || "").slice(0, 240)}`)),
        row("why", r.reason),
        d ? row("decided by", `${layers[(d.layer || 1) - 1]?.name || ""} · ${d.hop}`) : null,
        d?.policy || r.policy ? row("policy", h("code", {}, d?.policy || r.policy)) : null,
        d?.rule ? row("rule", h("code", {}, d.rule)) : null,
        row("control before", probe(k.before)), row("control after", probe(k.after)),
        r.differs ? row("not as expected", r.differs) : null) : null,
      h("p", {}, attack.why),
      attack.limits ? h("p", {}, h("b", {}, "Limits: "), attack.limits) : null,
      r ? h("details", {}, h("summary", {}, "everything that is known"), h("pre", {}, JSON.stringify(r, null, 1).slice(0, 6000))) : null);
  }

  store.on(["attacks", "results", "latest", "suite", "streams", "busy"], draw);
  draw(store.state);
  return { pick };
}
