// Clock, figures and poll board: what came down by telemetry, and how old it is.
import { $, h, s, keyed, text, announce } from "./dom.js";
import { number, elapsed, time } from "./format.js";
import { condition, clockOf, rolledBy } from "./flight.js";

// The first three are what a room sees in present mode.
const shown = [
  ["Earth, km", (m) => number(m.distanceEarthKm), "distance"],
  ["speed, km/s", (m) => number(m.speedKmS, 2), "speed"],
  ["♥", (m) => (m.crew || []).map((c) => number(c.heartRateBpm)).join(" ") || "–"],
  ["Moon", (m) => number(m.distanceMoonKm)],
  ["light, s", (m) => number(m.oneWayLightTimeS, 2), "light"],
  ["dBm", (m) => number(m.signal?.dBm, 0), "signal"],
  ["station", (m) => m.station || "–"],
  ["frames·lost", (m) => (m.contact ? `${number(m.contact.received)} · ${number(m.contact.lost)}` : "–")],
  ["roll", (m) => (m.attitude ? number(m.attitude.rollDeg, 0) + "°" : "–")],
  ["oxygen", (m) => (m.consumables ? number(m.consumables.oxygenPercent, 0, "%") : "–")],
  ["propellant", (m) => (m.serviceModule?.propulsion ? number(m.serviceModule.propulsion.propellantPercent, 0, "%") : "–")],
  ["cabin", (m) => number(m.atmosphere?.pressureKPa, 0, "kPa")],
];

export function makeMission(store) {
  const figures = shown.map(([name, show, history]) => {
    const value = h("dd", {}, "–");
    const spark = history ? s("polyline", { class: "spark", points: "" }) : null;
    $("figures").append(h("div", {}, h("dt", {}, name), value, spark && h("dd", { "class": "curve", "aria-hidden": "true" }, s("svg", { viewBox: "0 0 100 20", preserveAspectRatio: "none" }, spark))));
    return { show, value, spark, history };
  });
  let phase = null, contact = null, was = null;

  store.on("status", (state) => {
    const m = state.status;
    for (const f of figures) {
      text(f.value, m ? f.show(m) : "–");
      f.value.title = f.value.textContent;
      if (f.spark) f.spark.setAttribute("points", points(state.histories[f.history]));
    }
    if (!m) { phase = contact = null; return; }
    if (phase !== null && m.phase !== phase) announce(`Mission phase: ${m.phaseTitle || m.phase}`);
    phase = m.phase;
    const c = m.phase === "splashdown" ? "over" : m.contact?.state;
    if (contact !== null && c !== contact && (c === "lost" || contact === "lost")) announce(c === "lost" ? "Contact with the spacecraft is lost." : "Contact with the spacecraft again.");
    contact = c;
  });

  store.on("countdown", polls);
  store.on("status", polls);
  function polls() {
    const state = store.state, c = condition(state);
    const board = c.id === "count" || (c.id === "idle" && state.countdown?.state === "holding");
    $("polls").hidden = !board;
    if (!board) return;
    keyed($("polls"), state.countdown?.polls || [], (p) => p.position,
      () => h("li", {}, h("span"), h("b")),
      (li, p) => {
        const go = p.decision === "GO";
        li.className = go ? "go" : "nogo";
        text(li.firstChild, p.position);
        text(li.lastChild, `${go ? "✓" : "✕"} ${p.decision}`);
        li.title = p.reason || "";
      });
  }

  // The clock runs on between two reports, at the mission's own scale; a stale report stops it.
  function tick() {
    const state = store.state, c = condition(state);
    const at = clockOf(c, state);
    text($("met"), c.id === "count" && at === null ? "T−" : at !== null ? elapsed(at) : { home: "home", idle: "on the pad", "lost-craft": "lost" }[c.id] || "no mission yet");
    text($("phase"), c.phase || c.word);
    document.body.dataset.flight = c.id;
    document.body.dataset.current = String(c.current && !c.former);
    text($("mission-age"), c.former ? "figures of the former mission" : c.current ? "" : c.id === "home" || c.id === "lost-craft" ? "the last figures that came down" : c.id === "connecting" ? "" : `figures of ${time(state.status?.contact?.lastFrameAt || state.statusAt)}`);
    if (was !== c.id) {
      if (was === "count" && c.id === "flight") { document.body.classList.add("liftoff"); announce("Lift-off."); setTimeout(() => document.body.classList.remove("liftoff"), 6000); }
      was = c.id;
      store.changed("condition");
    }
    document.body.classList.toggle("rolled", rolledBy(state) > 0);
  }
  setInterval(tick, 250);
  store.on("status", tick);
  tick();
}

function points(list) {
  if (list.length < 2) return "";
  let low = Infinity, high = -Infinity;
  for (const v of list) { low = Math.min(low, v); high = Math.max(high, v); }
  const span = high - low || 1;
  return list.map((v, i) => `${((i / (list.length - 1)) * 100).toFixed(1)},${(18 - ((v - low) / span) * 16).toFixed(1)}`).join(" ");
}
