// The three stages, each with its score: how many of the story's four attacks got through there, and of all that were played.
import { $, h, text, attribute, announce } from "./dom.js";
import { layers, outcome } from "./verdicts.js";
import { stageOf } from "./store.js";

export function makeStages(store, act) {
  const cards = layers.map((l, i) => {
    const score = h("b", { class: "score" }), word = h("small"), more = h("span", { class: "hidden" });
    const element = h("button", { "type": "button", "aria-pressed": "false", "title": `${l.what}: ${l.about}`, "aria-keyshortcuts": `Shift+${i + 1}`, "onclick": () => act.stage(l.stage) }, h("span", {}, l.stage), " ", score, " ", word, more);
    $("stages").append(element);
    return { ...l, element, score, word, more };
  });
  let before = null;
  store.on(["suite", "results", "attacks"], (state) => {
    const stage = stageOf(state);
    for (const c of cards) {
      attribute(c.element, "aria-pressed", String(stage === c.stage));
      const tally = count(state, c.stage);
      text(c.score, tally.played ? `${tally.breached}/${tally.story}` : "–");
      attribute(c.element, "data-wins", !tally.played ? "none" : tally.breached ? "attacker" : "mission");
      text(c.word, tally.played ? "got through" : stage === c.stage ? (state.suite ? "in force" : "in force, as said") : state.mode === "cluster" ? `make stage-${c.stage}` : "not tried");
      text(c.more, `${tally.played ? " of the story's attacks" : ""}${stage === c.stage ? ", stage in force" : ""}`);
    }
    if (stage && before !== null && before !== stage) announce(`Stage ${stage} is in force.`);
    if (stage) before = stage;
  });
}

// count returns how many of the story's attacks were played at a stage, and how many got through.
export function count(state, stage, of = (a) => a.category === "story") {
  let played = 0, breached = 0, vain = 0, story = 0;
  for (const a of state.attacks) {
    if (!of(a)) continue;
    story++;
    const r = state.results[`${a.id}|${stage}`];
    if (!r) continue;
    played++;
    const { wins } = outcome(r);
    if (wins === "attacker") breached++;
    if (wins === "vain") vain++;
  }
  return { played, breached, vain, story };
}
