// What the mission is, as one of a few conditions: everything on the page that speaks of the flight reads it from here.

// A report that is older than this is no longer how things are.
export const staleAfter = 4000;

// condition returns {id, word, says, tone, current, clock} of the flight: tone is calm, good, bad or unknown; current reports
// whether the figures are those of now; clock is the mission time in s, or null, and runs where running is set.
export function condition(state, now = Date.now()) {
  const m = state.status, age = now - state.statusAt;
  if (!m) return { id: "connecting", word: "Connecting", says: "No report has come yet.", tone: "unknown", current: false, clock: null };
  const stale = age > staleAfter, unreachable = !!m.unavailable;
  const base = { phase: m.phaseTitle || m.phase, current: !stale && !unreachable, clock: m.missionTime, running: false, scale: m.timeScale || 1 };
  const aborted = (m.maneuvers || []).find((x) => x.type === "abort") || null;
  const make = (id, word, says, tone, more) => ({ ...base, id, word, says, tone, aborted, ...more });
  if (m.phase === "lost") return make("lost-craft", "CRAFT LOST", "Orion does not come back.", "bad", { current: false });
  // A new count may begin once the flight is over, so it counts first.
  const count = state.countdown?.state && state.countdown.state !== "launched" ? state.countdown : null;
  const counting = ["counting", "holding"].includes(m.countdown) || ["counting", "holding"].includes(count?.state);
  if (counting) {
    const left = count && Number.isFinite(count.tMinusS) ? -count.tMinusS : m.missionTime;
    const holding = (count?.state || m.countdown) === "holding";
    return make("count", holding ? "HOLD" : "COUNTDOWN", holding ? `Held: ${count?.holdReason || "no reason given"}` : "Kennedy and Houston are polled: go or no-go.", holding ? "unknown" : "calm", { clock: left, running: !holding, scale: 1, former: !!m.contact?.lastFrameAt });
  }
  if (m.phase === "splashdown") {
    return aborted
      ? make("home", "HOME, MISSION ABORTED", "The crew is back, without having seen the Moon.", "bad", { current: false, clock: null })
      : make("home", "SPLASHDOWN", "Orion is home. The crew is safe.", "good", { current: false, clock: null });
  }
  if (!m.liftOff) return make("idle", "On the pad", state.countdown?.state === "scrubbed" ? "The count was scrubbed." : "Orion waits for its countdown.", "calm", { clock: null, former: !!m.contact?.lastFrameAt });
  const flying = { running: !stale };
  if (aborted) return make("aborted", "MISSION ABORTED", aborted.reason ? `“${aborted.reason}”` : "Orion flies to its abort mode.", "bad", flying);
  if (stale) return make("stale", "No report from Houston", `What is shown is ${Math.round(age / 1000)} s old.`, "unknown", { running: false });
  if (unreachable) return make("blind", "Houston is blind", m.unavailable.detail || "telemetry-monitor does not answer.", "unknown", flying);
  if (m.contact?.state === "lost") return make("silent", "Loss of signal", "No frame comes down.", "unknown", { ...flying, current: false });
  return make("flight", "Orion flies on", m.phaseTitle || "", "good", flying);
}

// clockOf returns the mission time of this moment.
export function clockOf(c, state, now = Date.now()) {
  if (!Number.isFinite(c.clock)) return null;
  return c.running ? c.clock + Math.min((now - state.statusAt) / 1000, staleAfter / 1000) * (c.id === "count" ? 0 : c.scale) : c.clock;
}

// rolledBy returns by how many degrees Orion lies on its side, 0 where it does not or nobody knows.
export const rolledBy = (state) => { const roll = state.status?.attitude?.rollDeg; return Number.isFinite(roll) && Math.abs(roll) > 20 ? Math.round(Math.abs(roll)) : 0; };
