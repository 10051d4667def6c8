// The line under the banner: what is wrong with the suite or with what the page knows. It has its place whether it speaks or not.
import { $, text } from "./dom.js";
import { time } from "./format.js";
import { condition } from "./flight.js";

export function makeNotice(store) {
  const restarts = new Map(); // pod -> how often it was restarted, and when this page saw the last time
  let epoch = null;
  function draw() {
    const state = store.state, said = [], now = Date.now();
    const age = state.statusAt ? Math.round((now - state.statusAt) / 1000) : null;
    if (state.streams.mission === "lost" && (age === null || age >= 3)) said.push(`Mission control does not answer: what is shown is ${age === null ? "nothing yet" : `${age} s old`}. Trying again.`);
    if (state.streams.suite === "lost" && state.mode === "local") said.push("The launcher does not answer.");
    if (state.mode === "viewer") said.push("View only: open the address that `artemis up` printed to steer.");
    if (state.suite?.problem) said.push(`Earlier manifests stay in force: ${state.suite.problem}`);
    for (const line of state.suite?.unprotected || []) said.push(`Unprotected: ${line}`);
    const c = condition(state, now), contact = state.status?.contact;
    if (c.id === "silent") said.push(`Loss of signal: the last frame is from ${time(contact.lastFrameAt)}.`);
    else if (c.id === "flight" && contact?.state === "late") said.push("Frames are late.");
    if (epoch !== state.epoch) { epoch = state.epoch; restarts.clear(); }
    const few = (list) => list.slice(0, 4).join(", ") + (list.length > 4 ? ` and ${list.length - 4} more` : "");
    for (const p of state.suite?.pods || []) {
      const name = `${p.cell}/${p.component}`, known = restarts.get(name);
      restarts.set(name, { count: p.restarts || 0, at: known && p.restarts > known.count ? now : known ? known.at : 0 });
    }
    const lately = [...restarts].filter(([, r]) => r.at && now - r.at < 15000).map(([name]) => name);
    if (lately.length) said.push(`Restarted just now: ${few(lately)}.`);
    const down = (state.suite?.pods || []).filter((p) => !p.ready).map((p) => `${p.cell}/${p.component}`);
    if (down.length) said.push(`Not ready: ${few(down)}.`);
    text($("notice"), said.join(" "));
  }
  setInterval(draw, 500);
  store.on(["suite", "streams", "status"], draw);
  draw();
}
