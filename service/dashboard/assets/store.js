// The one store of events: what the page knows, in bounded memory. apply() takes one message of the feed and returns the names of
// what it changed; it runs in the page and in the shared worker alike. Nothing here is made up: each field says where it comes from.
const keep = (list, item, most) => { list.push(item); if (list.length > most) list.splice(0, list.length - most); };

export const initial = () => ({
  mode: "connecting",  // local (a launcher), viewer (a launcher that does not know us), cluster (none)
  epoch: null,         // when the suite was started: another one is another suite
  suite: null,         // the launcher's state
  lastSeq: 0,          // number of the last decision
  decisions: [],       // the decision log, at most 500
  refusals: [],        // of it those that were refused or failed, at most 200: they are few, and asked for later
  graph: null,         // flight-director: /mission/graph
  status: null,        // flight-director: /mission/status, and the stream's status
  statusAt: 0,         // when it came, by this browser's clock
  trajectory: null,    // flight-director: /trajectory
  countdown: null,     // launch-control: /countdown/status
  traces: [],          // the stream's traces, at most 200
  frame: null,         // the stream's last frame
  alerts: [],          // the stream's alerts, at most 50
  attacks: [],         // the campaign
  attackers: [],       // who plays it
  said: null,          // the stage in force as the console was told, where there is no launcher to know it
  results: {},         // "attack|stage" -> the last result decided at that stage
  latest: null,        // the last attack: {run, id, attacker, target, stage, at, result?}
  since: null,         // when the mission before this one was forgotten
  streams: { mission: "connecting", suite: "connecting", console: "connecting" },
  histories: { distance: [], speed: [], signal: [], light: [] }, // from status, at most 180 each
});

// forget drops what belongs to the mission: another has begun.
function forgetMission(state) {
  const fresh = initial();
  for (const name of ["status", "statusAt", "trajectory", "countdown", "traces", "frame", "alerts", "histories"]) state[name] = fresh[name];
  state.since = new Date().toISOString();
}

// ofThisFlight reports whether something that happened then belongs to the mission that is shown.
export const ofThisFlight = (state, at) => Date.parse(at) >= Math.max(Date.parse(state.since || 0), Date.parse(state.status?.liftOff || 0) - 60000);

const took = {
  mode(state, mode) { state.mode = mode; if (mode !== "local") state.suite = null; return ["suite"]; },
  stream(state, { name, now }) { state.streams[name] = now; return ["streams"]; },
  suite(state, suite) {
    const changed = ["suite"];
    if (state.epoch !== null && state.epoch !== suite.startedAt) {
      forgetMission(state);
      Object.assign(state, { decisions: [], refusals: [], lastSeq: 0, results: {}, latest: null, attackers: [] });
      changed.push("decisions", "results", "latest", "status", "trajectory", "countdown", "trace", "attacks", "restart");
    }
    state.epoch = suite.startedAt;
    state.suite = suite;
    state.mode = "local";
    return changed;
  },
  decision(state, d) {
    if (d.seq <= state.lastSeq) return [];
    state.lastSeq = d.seq;
    keep(state.decisions, d, 500);
    if (d.verdict !== "allowed") keep(state.refusals, d, 200);
    return ["decisions"];
  },
  status(state, { status, at }) {
    const before = state.status;
    if (before && before.liftOff && status.liftOff !== before.liftOff && !status.unavailable) forgetMission(state);
    state.status = status;
    state.statusAt = at;
    if (status.contact?.state === "live") {
      const add = (name, v) => { if (typeof v === "number") keep(state.histories[name], v, 180); };
      add("distance", status.distanceEarthKm); add("speed", status.speedKmS); add("light", status.oneWayLightTimeS); add("signal", status.signal?.dBm);
    }
    return ["status"];
  },
  graph(state, graph) { state.graph = graph; return ["graph"]; },
  trajectory(state, t) { state.trajectory = t; return ["trajectory"]; },
  countdown(state, c) { state.countdown = c; return ["countdown"]; },
  frame(state, f) { state.frame = f; return ["frame"]; },
  trace(state, t) { keep(state.traces, t, 200); return ["trace"]; },
  alert(state, a) { keep(state.alerts, a, 50); return ["alert"]; },
  attacks(state, { attacks, attackers, results, stage }) {
    state.attacks = attacks || [];
    state.attackers = attackers || [];
    const changed = ["attacks"];
    if (state.said !== (stage || null)) { state.said = stage || null; changed.push("suite"); }
    for (const r of results || []) changed.push(...settle(state, r));
    return changed;
  },
  attack(state, a) {
    const changed = a.result ? settle(state, a.result) : [];
    if (!state.latest || state.latest.run === a.run || state.latest.at <= a.at) { state.latest = a; changed.push("latest"); }
    return changed;
  },
};

// settle files a result under the stage at which it was decided. One that names none belongs in no column.
function settle(state, r) {
  const changed = [];
  if (!state.latest || (state.latest.run !== r.run && state.latest.at < r.at) || (state.latest.run === r.run && !state.latest.result)) {
    const attack = state.attacks.find((a) => a.id === r.id);
    state.latest = { run: r.run, id: r.id, attacker: r.attacker, target: attack ? attack.target : "", stage: r.stage, at: r.at, result: r };
    changed.push("latest");
  }
  if (!r.stage) return changed;
  const key = `${r.id}|${r.stage}`;
  const known = state.results[key];
  if (!known || known.at <= r.at) { state.results[key] = r; changed.push("results"); }
  return changed;
}

export function apply(state, { kind, data }) {
  return took[kind] ? took[kind](state, data) : [];
}

// makeStore holds the state for the page: listeners of a name are called once a frame however often it changed, those of an event
// (`on("event:decision")`) at once and for each.
export function makeStore() {
  const listeners = new Map();
  const dirty = new Set();
  let asked = false;
  const store = { state: initial() };
  const tell = () => {
    asked = false;
    const names = [...dirty];
    dirty.clear();
    const called = new Set();
    for (const name of names) for (const l of listeners.get(name) || []) if (!called.has(l)) { called.add(l); l(store.state); }
  };
  store.changed = (...names) => {
    for (const n of names) dirty.add(n);
    if (!asked && dirty.size) { asked = true; document.hidden ? setTimeout(tell, 250) : requestAnimationFrame(tell); }
  };
  const everything = () => store.changed(...[...listeners.keys()].filter((name) => !name.startsWith("event:")));
  store.on = (names, listener) => { for (const name of [names].flat()) listeners.set(name, [...(listeners.get(name) || []), listener]); };
  store.take = (message) => {
    if (message.kind === "snapshot") { store.state = message.data; everything(); return; }
    store.changed(...apply(store.state, message));
    for (const l of listeners.get(`event:${message.kind}`) || []) l(message.data, store.state);
  };
  // A hidden page draws nothing; shown again, it draws all.
  document.addEventListener("visibilitychange", () => { if (!document.hidden) { asked = false; everything(); } });
  return store;
}

// stageOf returns the stage in force, or null where it is not known. On a cluster it is somebody's word.
export const stageOf = (state) => (state.suite ? state.suite.stage : state.mode === "cluster" ? state.said : null);
