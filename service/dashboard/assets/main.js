// Wires the page: the feed fills the store, whoever shows something listens to it.
import { $, h } from "./dom.js";
import { join } from "./join.js";
import { makeStore } from "./store.js";
import { makePlay } from "./play.js";
import { makeStages } from "./stages.js";
import { makeBanner } from "./banner.js";
import { makeNotice } from "./notice.js";
import { makeLane } from "./lane.js";
import { makeCells } from "./cells.js";
import { makeMission } from "./mission.js";
import { makeOrbit } from "./orbit.js";
import { makeLoot } from "./loot.js";
import { makeBoard } from "./board.js";
import { makeTrace } from "./trace.js";
import { makeOperator } from "./operator.js";
import { makeService } from "./service.js";
import { makeWire } from "./wire.js";
import { makeTour } from "./tour.js";
import { breached, stages } from "./verdicts.js";

const store = makeStore();
const act = makePlay(store);
const remember = (name, value) => { try { localStorage.setItem(`artemis-${name}`, value); } catch { /* a browser that keeps nothing */ } };
const remembered = (name) => { try { return localStorage.getItem(`artemis-${name}`); } catch { return null; } };

// Tabs.
const tabs = ["attacks", "trace", "operator", "service", "wire"];
function open(name, focus = true) {
  for (const t of tabs) {
    const on = t === name;
    $(`tab-${t}`).setAttribute("aria-selected", String(on));
    $(`tab-${t}`).tabIndex = on ? 0 : -1;
    $(`view-${t}`).hidden = !on;
  }
  document.body.dataset.view = name;
  if (focus && $(`tab-${name}`).offsetParent) $(`tab-${name}`).focus({ preventScroll: true });
  remember("tab", name);
  store.changed("tab");
}
tabs.forEach((t, i) => {
  $(`tab-${t}`).addEventListener("click", () => open(t));
  $(`tab-${t}`).addEventListener("keydown", (e) => {
    const to = { ArrowRight: (i + 1) % tabs.length, ArrowLeft: (i + tabs.length - 1) % tabs.length, Home: 0, End: tabs.length - 1 }[e.key];
    if (to !== undefined) { e.preventDefault(); open(tabs[to]); }
  });
});

makeStages(store, act);
makeBanner(store, act);
makeNotice(store);
makeLane(store);
makeMission(store);
makeOrbit(store);
makeLoot(store);
makeBoard(store, act);
makeTrace(store);
makeOperator(store, act);
makeWire(store, act);
makeCells(store, makeService(store, open));
const tour = makeTour(store, act, open);
open(tabs.includes(remembered("tab")) ? remembered("tab") : "attacks", false);

// How it looks.
function theme(to) {
  document.documentElement.dataset.theme = to;
  $("theme-button").textContent = to === "light" ? "Dark" : "Light";
  store.changed("theme");
}
theme(remembered("theme") || (matchMedia("(prefers-color-scheme: light)").matches ? "light" : "dark"));
$("theme-button").addEventListener("click", () => { theme(document.documentElement.dataset.theme === "light" ? "dark" : "light"); remember("theme", document.documentElement.dataset.theme); });
function present(on) {
  document.documentElement.classList.toggle("present", on);
  $("present-button").setAttribute("aria-pressed", String(on));
  remember("present", on ? "yes" : "");
  store.changed("layout");
}
present(remembered("present") === "yes");
const togglePresent = () => present(!document.documentElement.classList.contains("present"));
$("present-button").addEventListener("click", togglePresent);
$("tour-button").addEventListener("click", tour.toggle);

// Keys.
const keys = [["a", "the four attacks of the story"], ["x", "neutralise the attack that got through"], ["Shift+1 2 3", "stage open, mtls, zero-trust"], ["l", "start the countdown"], ["f", "a new flight"], ["p", "present: for a room"], ["t", "tour; n next, b back, Enter does it"], ["1 2 3 4 5", "attacks, calls, operator, service, wire"], ["?", "this list"]];
const help = $("help");
help.append(h("h2", { id: "help-title" }, "Keys"), h("table", {}, h("tbody", {}, keys.map(([k, what]) => h("tr", {}, h("th", { scope: "row" }, h("kbd", {}, k)), h("td", {}, what))))), h("button", { type: "button", onclick: () => help.close() }, "Close"));
$("help-button").addEventListener("click", () => help.showModal());

const onKey = {
  "a": act.story, "l": act.start, "f": act.newFlight, "p": togglePresent, "t": tour.toggle, "?": () => help.showModal(),
  "x": () => { const r = store.state.latest?.result; if (breached(r)) act.neutralise(r); },
};
addEventListener("keydown", (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey || /^(INPUT|TEXTAREA|SELECT)$/.test(e.target.tagName) || help.open) return;
  if (tour.key(e)) { e.preventDefault(); return; }
  const digit = /^Digit([1-5])$/.exec(e.code);
  if (digit && e.shiftKey) { if (stages[digit[1] - 1]) act.stage(stages[digit[1] - 1]); } else if (digit) open(tabs[digit[1] - 1]);
  else if (onKey[e.key]) { if (e.key === "a" || e.key === "x") open("attacks", false); onKey[e.key](); } else return;
  e.preventDefault();
});

join(store.take);
