// The way of the attack: from the rogue through wall, lock and waypoint to its target. One that answers flares and breaks the stroke,
// and its words stay. Without an attack the three gates show what is in force.
import { $, h, s, refill, text, attribute } from "./dom.js";
import { layers, stages, breached, outcome, label, attackerPod } from "./verdicts.js";
import { stageOf, ofThisFlight } from "./store.js";

const drawings = {
  wall: "M6 14H58V26H6ZM6 29H30V41H6ZM34 29H58V41H34ZM6 44H58V56H6Z",
  lock: "M14 28H50V58H14ZM22 28V19A10 10 0 0 1 42 19V28H36V19A4 4 0 0 0 28 19V28Z",
  waypoint: "M32 4L60 32L32 60L4 32ZM32 17L47 32L32 47L17 32Z",
};

export function makeLane(store) {
  const from = h("div", { class: "end rogue" }, h("b"), h("small"));
  const to = h("div", { class: "end target" }, h("b"), h("small"));
  const stroke = h("div", { "class": "stroke", "aria-hidden": "true" }, h("i"));
  const gates = layers.map((l) => {
    const word = h("small");
    return { ...l, word, element: h("div", { class: "gate" }, s("svg", { "viewBox": "0 0 64 64", "aria-hidden": "true" }, s("path", { "d": drawings[l.name], "fill-rule": "evenodd" })), h("b", {}, `${l.layer} ${l.name}`), word) };
  });
  const said = h("p", { class: "said", role: "status" });
  $("lane").append(from, h("div", { class: "track" }, stroke, h("div", { class: "gates" }, gates.map((g) => g.element))), to, said);
  let shown = "";

  function draw(state) {
    const a = state.latest && ofThisFlight(state, state.latest.at) ? state.latest : null, r = a?.result;
    const stage = (r && r.stage) || a?.stage || stageOf(state);
    const up = stages.indexOf(a ? stage : stageOf(state));
    const stopped = r && /^denied/.test(r.verdict) ? r.layer || 0 : 0;
    gates.forEach((g, i) => {
      const on = up >= i;
      const is = !a || !r ? (on ? "on" : "off") : stopped === g.layer ? "answered" : !on ? "off" : stopped && g.layer > stopped ? "unreached" : r.verdict === "allowed" || stopped ? "passed" : "on";
      attribute(g.element, "data-is", is);
      text(g.word, up < 0 ? g.what : { on: g.what, off: "not in force", answered: "REFUSED", passed: "let it pass", unreached: "not reached" }[is]);
    });
    const who = a ? attackerPod(state.attackers, a.attacker) : "";
    text(from.firstChild, a ? `☠ ${a.attacker}` : "any caller");
    text(from.lastChild, a ? who : "");
    text(to.firstChild, a ? a.target : "any service");
    const attack = a && state.attacks.find((x) => x.id === a.id);
    text(to.lastChild, attack ? attack.title : "");
    const lane = $("lane");
    const is = !a ? "idle" : !r ? "flying" : breached(r) ? "breached" : stopped ? "stopped" : r.verdict === "allowed" ? "vain" : "open";
    attribute(lane, "data-is", is);
    attribute(lane, "data-run", a?.run);
    attribute(lane, "data-layer", stopped || null);
    attribute(lane, "data-verdict", r?.verdict);
    // How far the stroke goes: to the gate that answered, or all the way.
    lane.style.setProperty("--reach", stopped ? `${[0, 21, 50, 79][stopped]}%` : "100%");
    const moment = `${a?.run} ${is}`;
    if (moment !== shown) {
      shown = moment;
      stroke.firstChild.getAnimations().forEach((m) => m.cancel());
      if (is !== "idle") stroke.firstChild.animate([{ transform: "scaleX(0)" }, { transform: "scaleX(1)" }], { duration: matchMedia("(prefers-reduced-motion: reduce)").matches ? 0 : is === "flying" ? 900 : 350, easing: "ease-in", fill: "both" });
    }
    if (!a) refill(said, up < 0 ? "" : ["Stage open: the wall stands alone. Inside a Cell anybody may call anybody.", "Stage mtls: everybody has a name, every byte is encrypted, nobody is refused.", "Stage zero-trust: who is not in allowFrom is refused, by name, method and path."][up]);
    else if (!r) refill(said, attack?.request?.split(";")[0] || "", " …");
    else refill(said, h("b", {}, outcome(r).word), " ", label(r, state.attackers), r.decision?.policy && r.verdict !== "denied-l7" ? h("small", {}, ` policy ${r.decision.policy.split("/").pop()}`) : null);
  }
  store.on(["latest", "suite", "attacks"], draw);
  store.on("event:attack", (_, state) => draw(state)); // at once: an attack may be over within a frame
  draw(store.state);
}
