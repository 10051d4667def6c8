// Wires the page: what comes in goes to the state, who shows it hears of it.
import { $, h } from "./dom.js";
import { call, listen, paths } from "./net.js";
import { makeState } from "./state.js";
import { makeMission } from "./mission.js";
import { makeOrbit } from "./orbit.js";
import { makeCells } from "./cells.js";
import { makeTrace } from "./trace.js";
import { makeOperator } from "./operator.js";
import { makeAdversary } from "./adversary.js";
import { makeLayers } from "./layers.js";
import { makeTour } from "./tour.js";

const store = makeState();
const { state, keep, changed } = store;

makeMission(store);
makeOrbit(store);
makeCells(store);
makeTrace(store);
const operator = makeOperator(store);
const adversary = makeAdversary(store);
const layers = makeLayers(store);
const tour = makeTour({ start: () => operator.count("start"), stage: layers.change, story: adversary.story, all: adversary.all });

const get = async (path, name, pick = (b) => b) => {
  const r = await call("GET", path);
  if (r.ok && r.body) { state[name] = pick(r.body); changed(name, state[name]); }
  return r;
};

function gotStatus(m) {
  state.status = m;
  state.statusAt = Date.now();
  const add = (name, v) => { if (typeof v === "number") keep(state.histories[name], v, 240); };
  add("distance", m.distanceEarthKm); add("speed", m.speedKmS); add("light", m.oneWayLightTimeS);
  if (m.signal) { add("signal", m.signal.dBm); add("rate", m.signal.dataRateBps); }
  changed("status", m);
}
const stream = (name) => (now) => { state.streams[name] = now; changed("streams", state.streams); };

listen(`${paths.director}events`, {
  status: gotStatus,
  frame: (f) => { keep(state.frames, f, 400); changed("frame", f); },
  trace: (t) => { keep(state.traces, t, 300); changed("trace", t); },
  alert: (a) => { keep(state.alerts, a, 50); changed("alert", a); },
}, stream("mission"));

// The suite's own state exists on one machine only; a cluster answers 404, and the page then shows commands instead of switches.
async function suite() {
  const r = await get(`${paths.suite}state`, "suite");
  if (r.status === 404 || r.status === 403) { state.suite = "absent"; changed("suite", state.suite); return; }
  if (!r.ok) { setTimeout(suite, 2000); return; }
  let last = 0;
  listen(() => `${paths.suite}events${last ? `?since=${last}` : ""}`, {
    decision: (d) => { if (d.seq <= last) return; last = d.seq; keep(state.decisions, d, 500); changed("decision", d); },
    state: (now) => { state.suite = now; changed("suite", now); },
  }, stream("suite"));
}

async function attacker() {
  const r = await call("GET", `${paths.console}attacks`);
  if (r.status === 404) { state.streams.console = "absent"; changed("streams", state.streams); setTimeout(attacker, 10000); return; }
  if (!r.ok || !r.body) { state.streams.console = "lost"; changed("streams", state.streams); setTimeout(attacker, 3000); return; }
  const took = (b) => { state.attacks = b.attacks || []; state.attackers = b.attackers || []; changed("attacks", state.attacks); changed("attackers", state.attackers); };
  took(r.body);
  // A switch of the stage cuts connections, this one too: what came meanwhile is asked for when the stream is back.
  const came = (x) => { if (state.results.some((y) => y.run === x.run)) return; keep(state.results, x, 400); changed("result", x); };
  const missed = async () => { const again = await call("GET", `${paths.console}results`); if (again.ok && again.body) (again.body.results || []).forEach(came); };
  listen(`${paths.console}events`, { result: came }, (now) => { stream("console")(now); if (now === "live") missed(); });
  setInterval(async () => { const again = await call("GET", `${paths.console}attacks`); if (again.ok && again.body) took(again.body); }, 5000);
}

get(`${paths.director}mission/status`, "status", (m) => { gotStatus(m); return m; });
const graph = async () => { const r = await get(`${paths.director}mission/graph`, "graph"); if (!r.ok) setTimeout(graph, 2000); };
graph();
suite();
attacker();
const often = (path, name, every) => { const again = async () => { if (!document.hidden) await get(path, name); setTimeout(again, every); }; again(); };
often(`${paths.director}trajectory`, "trajectory", 2000);
often(`${paths.launch}countdown/status`, "countdown", 1000);

// Tabs, theme, help and keys.
const tabs = ["adversary", "trace", "operator"];
function open(name, focus = true) {
  for (const t of tabs) {
    const on = t === name;
    $(`tab-${t}`).setAttribute("aria-selected", String(on));
    $(`tab-${t}`).tabIndex = on ? 0 : -1;
    $(`view-${t}`).hidden = !on;
  }
  if (focus) $(`tab-${name}`).focus();
  changed("tab", name);
}
tabs.forEach((t, i) => {
  $(`tab-${t}`).addEventListener("click", () => open(t));
  $(`tab-${t}`).addEventListener("keydown", (e) => {
    const to = { ArrowRight: (i + 1) % 3, ArrowLeft: (i + 2) % 3, Home: 0, End: 2 }[e.key];
    if (to !== undefined) { e.preventDefault(); open(tabs[to]); }
  });
});

function theme(to) {
  document.documentElement.dataset.theme = to;
  $("theme-button").textContent = to === "light" ? "Dark" : "Light";
  changed("theme", to);
}
theme(matchMedia("(prefers-color-scheme: light)").matches ? "light" : "dark");
$("theme-button").addEventListener("click", () => theme(document.documentElement.dataset.theme === "light" ? "dark" : "light"));
$("tour-button").addEventListener("click", tour.toggle);

const keys = [["t", "tour; n next, b back"], ["1 2 3", "adversary, signal trace, operator"], ["Shift+1 2 3", "stage open, mtls, zero-trust"], ["a", "launch the four attacks of the story"], ["?", "this list"]];
const help = $("help");
help.append(h("h2", { id: "help-title" }, "Keys"), h("table", {}, h("tbody", {}, keys.map(([k, what]) => h("tr", {}, h("th", { scope: "row" }, h("kbd", {}, k)), h("td", {}, what))))), h("button", { type: "button", onclick: () => help.close() }, "Close"));
$("help-button").addEventListener("click", () => help.showModal());

addEventListener("keydown", (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey || /^(INPUT|TEXTAREA|SELECT)$/.test(e.target.tagName) || help.open) return;
  if (tour.key(e.key)) { e.preventDefault(); return; }
  const digit = /^Digit([123])$/.exec(e.code);
  if (digit && e.shiftKey) layers.change(["open", "mtls", "zero-trust"][digit[1] - 1]);
  else if (digit) open(tabs[digit[1] - 1]);
  else if (e.key === "t") tour.toggle();
  else if (e.key === "a") adversary.story();
  else if (e.key === "?") help.showModal();
  else return;
  e.preventDefault();
});
