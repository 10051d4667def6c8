// The banner: who wins, in words that the last row reads, and what became of the mission. Red is the attacker's, blue the mission's.
import { $, h, refill, text, attribute, announce } from "./dom.js";
import { outcome, consequence, attackerPod, label, answering } from "./verdicts.js";
import { condition } from "./flight.js";
import { stageOf, ofThisFlight } from "./store.js";

const holds = 45000; // how long the last attack speaks before the mission does again

export function makeBanner(store, acts) {
  let said = "", timer = 0;

  function draw(state) {
    const a = state.latest, r = a?.result;
    const attack = a && state.attacks.find((x) => x.id === a.id);
    const c = condition(state);
    const fresh = a && (!r || ofThisFlight(state, r.at)) && (!r || Date.now() - Date.parse(r.at) < holds + (r.evidence?.durationMs || 0));
    clearTimeout(timer);
    if (fresh && r) timer = setTimeout(() => store.changed("condition"), Math.max(holds - (Date.now() - Date.parse(r.at)), 0) + 1000);
    let wins = { bad: "attacker", good: "none", calm: "none", unknown: "nobody" }[c.tone], word = c.word, says = c.says;
    const lost = consequence(r, attack, state.attackers);
    const by = abortedBy(state, c);
    if (c.id === "aborted" || (c.id === "home" && c.aborted)) word = `${c.id === "home" ? "HOME · " : ""}MISSION ABORTED ${by}`;
    if (fresh && !r) [wins, word, says] = ["attack", `☠ ${attack?.title || a.id}`, `${attackerPod(state.attackers, a.attacker)} calls ${a.target} …`];
    else if (fresh && lost) [wins, word, says] = ["attacker", lost.title, `${attack?.title || ""} · breached at stage ${r.stage || "unknown"}${c.tone === "bad" && r.id !== "abort" ? ` · mission aborted ${by}` : ""}`];
    else if (fresh && outcome(r).wins === "mission") [wins, word, says] = ["mission", outcome(r).word, `${attack?.title || r.id} · ${c.tone === "bad" ? "the mission was aborted before" : c.id === "flight" ? "Orion flies on" : c.word}`];
    else if (fresh) [wins, word, says] = ["nobody", outcome(r).word, label(r, state.attackers)];
    if (state.note) says = state.note;
    attribute($("banner"), "data-wins", wins);
    text($("banner-word"), word);
    text($("banner-says"), says);
    const moment = fresh ? `${a.run} ${r ? r.verdict : ""}` : c.id;
    if (moment !== said) {
      if (said && fresh && r) announce(`${attack?.title || r.id}: ${word}. ${label(r, state.attackers)}`);
      said = moment;
    }
    offer(state, c, fresh && r, attack, lost);
  }

  // offer shows what can be done about it: one thing at a time.
  let offered = "";
  function offer(state, c, r, attack, lost) {
    const may = acts.may();
    const raise = r && lost && attack ? answering(attack, r.stage || stageOf(state)) : null;
    const what = acts.busy() ? "" : raise ? `neutralise ${attack.id} ${raise}` : c.id === "idle" || c.id === "home" ? "start" : c.id === "aborted" || c.id === "lost-craft" ? "new" : "";
    if (what + may === offered) return;
    offered = what + may;
    const button = (words, keys, act) => h("button", { "type": "button", "class": "main", "aria-keyshortcuts": keys, "onclick": act }, words, " ", h("kbd", {}, keys));
    refill($("banner-acts"), !may && what ? h("small", {}, acts.why()) : raise && !acts.busy() ? button("Neutralise", "x", () => acts.neutralise(r)) : what === "start" ? button("Start the countdown", "l", acts.start) : what === "new" ? button("New flight", "f", acts.newFlight) : null);
  }

  const redraw = () => draw(store.state);
  store.on(["latest", "status", "condition", "attacks", "suite", "busy", "countdown"], redraw);
  redraw();
}

// abortedBy names who ended the flight: the attacker whose order it was, where an attack of this flight got what it wanted, else the
// operator with his reason. An attack that found the craft aborting already was not the first.
export function abortedBy(state, c) {
  if (!c.aborted) return "";
  const theirs = Object.values(state.results).find((r) => r.id === "abort" && r.verdict === "allowed" && r.evidence?.effect && !/already/.test(r.evidence.body || "") && ofThisFlight(state, r.at));
  return theirs ? `by ${attackerPod(state.attackers, theirs.attacker)}` : c.aborted.reason ? `· “${c.aborted.reason}”` : "by the operator";
}
