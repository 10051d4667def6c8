// Clock, figures, crew and consumables: what came down by telemetry, with how old it is.
import { $, h, s, announce } from "./dom.js";
import { number, elapsed, time } from "./format.js";

export function makeMission(store) {
  const { state } = store;
  const figures = [
    ["to Earth, km", (m) => number(m.distanceEarthKm), "distance"],
    ["to Moon, km", (m) => number(m.distanceMoonKm)],
    ["speed, km/s", (m) => number(m.speedKmS, 3), "speed"],
    ["light time, s", (m) => number(m.oneWayLightTimeS, 3), "light"],
    ["signal, dBm", (m) => number(m.signal && m.signal.dBm, 1), "signal"],
    ["rate, Mbit/s", (m) => number(m.signal && m.signal.dataRateBps && m.signal.dataRateBps / 1e6, 3), "rate"],
    ["station", (m) => m.station || "–"],
    ["frames, lost, late", (m) => (m.contact ? [m.contact.received, m.contact.lost, m.contact.late].map((v) => number(v)).join(" · ") : "–")],
    ["spacecraft", (m) => m.spacecraftMode || "–"],
  ].map(([name, show, history]) => {
    const value = h("dd", {}, "–");
    const spark = history ? s("polyline", { class: "spark", points: "" }) : null;
    $("figures").append(h("div", {}, h("dt", {}, name), value, spark && h("dd", { "aria-hidden": "true" }, s("svg", { viewBox: "0 0 100 20", preserveAspectRatio: "none", "aria-hidden": "true" }, spark))));
    return { show, value, spark, history };
  });

  const crewRows = new Map();
  const row = (box, rows, key, text) => {
    if (!rows.has(key)) { const v = h("span"); rows.set(key, v); box.append(h("div", { class: "row" }, h("span", {}, key), v)); }
    rows.get(key).textContent = text;
  };
  const consumableRows = new Map();
  const restarts = new Map(); // pod -> how often it was restarted, and when this page saw the last time
  let phase = null, contact = null;

  store.on("status", (m) => {
    if (!m) return;
    for (const f of figures) {
      f.value.textContent = f.show(m);
      f.value.title = f.value.textContent;
      if (f.spark) f.spark.setAttribute("points", points(state.histories[f.history]));
    }
    for (const member of m.crew || []) row($("crew"), crewRows, member.name.split(" ").pop(), `${number(member.heartRateBpm)} bpm ${number(member.spO2Percent)} % ${number(member.temperatureC, 1)}°`);
    for (const [name, value] of Object.entries({ ...m.consumables, ...((m.serviceModule && m.serviceModule.propulsion) ? { propellantPercent: m.serviceModule.propulsion.propellantPercent } : {}) })) {
      if (!name.endsWith("Percent")) continue;
      const [words, unit] = unitOf(name);
      row($("consumables"), consumableRows, words, typeof value === "number" ? number(value, unit === "%" ? 0 : 1, unit) : value === null ? "–" : String(value));
    }
    $("phase").textContent = m.phaseTitle || m.phase || "–";
    if (phase !== null && m.phase !== phase) announce(`Mission phase: ${m.phaseTitle || m.phase}`);
    phase = m.phase;
    const c = m.contact && m.contact.state;
    if (contact !== null && c !== contact && (c === "lost" || contact === "lost")) announce(c === "lost" ? "Contact with the spacecraft is lost." : "Contact with the spacecraft again.");
    contact = c;
    tick();
  });

  // The clock runs on between two reports, at the mission's own scale; a stale report stops it and says so.
  const tick = () => {
    const m = state.status, count = state.countdown;
    let text = "no mission yet";
    if (m && m.liftOff && Number.isFinite(m.missionTime)) {
      const age = (Date.now() - state.statusAt) / 1000;
      text = age < 5 ? elapsed(m.missionTime + age * (m.timeScale || 1)) : elapsed(m.missionTime) + " stale";
    } else if (count && Number.isFinite(count.tMinusS)) {
      text = elapsed(-count.tMinusS) + (count.state === "holding" ? " hold" : "");
    } else if (count && count.state) {
      text = count.state;
    }
    $("met").textContent = text;
    notices();
  };

  const notices = () => {
    const said = [];
    const { streams } = state;
    const age = state.statusAt ? Math.round((Date.now() - state.statusAt) / 1000) : null;
    if (streams.mission === "lost" && (age === null || age >= 3)) said.push("Mission control does not answer: what is shown is from " + (age === null ? "nowhere yet" : `${age} s ago`) + ". Trying again.");
    const c = state.status && state.status.contact;
    if (c && c.state === "lost") said.push(`Loss of signal: the last frame is from ${time(c.lastFrameAt)}.`);
    else if (c && c.state === "late") said.push("Frames are late.");
    if (state.suite && state.suite !== "absent") {
      const down = (state.suite.pods || []).filter((p) => !p.ready);
      for (const p of state.suite.pods || []) {
        const name = `${p.cell}/${p.component}`;
        const known = restarts.get(name);
        if (known !== undefined && p.restarts > known.count) known.at = Date.now();
        restarts.set(name, { count: p.restarts || 0, at: known ? known.at : 0 });
      }
      const lately = [...restarts].filter(([, r]) => r.at && Date.now() - r.at < 15000).map(([name]) => name);
      if (lately.length) said.push(`Restarted just now: ${lately.slice(0, 4).join(", ")}${lately.length > 4 ? ` and ${lately.length - 4} more` : ""}.`);
      if (down.length) said.push("Not ready: " + down.map((p) => `${p.cell}/${p.component}`).slice(0, 4).join(", ") + (down.length > 4 ? ` and ${down.length - 4} more` : "") + ".");
    }
    const text = said.join(" ");
    if ($("notice").textContent !== text) { $("notice").textContent = text; $("notice").hidden = !text; }
  };
  setInterval(tick, 250);
  tick();
}

function points(list) {
  if (list.length < 2) return "";
  let low = Infinity, high = -Infinity;
  for (const v of list) { low = Math.min(low, v); high = Math.max(high, v); }
  const span = high - low || 1;
  return list.map((v, i) => `${((i / (list.length - 1)) * 100).toFixed(1)},${(18 - ((v - low) / span) * 16).toFixed(1)}`).join(" ");
}

// A field such as oxygenKg is shown as "oxygen" in kg.
function unitOf(name) {
  const m = /^(.*?)(Kg|KWh|Kwh|Percent|Kpa|KPa|W|Kw|KW|L|C|H|Days)$/.exec(name);
  const units = { Kg: "kg", KWh: "kWh", Kwh: "kWh", Percent: "%", Kpa: "kPa", KPa: "kPa", W: "W", Kw: "kW", KW: "kW", L: "l", C: "°C", H: "h", Days: "days" };
  const words = (m ? m[1] : name).replace(/([A-Z])/g, " $1").toLowerCase();
  return [words, m ? units[m[2]] : ""];
}
