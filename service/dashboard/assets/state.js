// What the page knows, in bounded memory, and who wants to hear of it. Nothing here is made up: each field says where it comes from.
const keep = (list, item, most) => { list.push(item); if (list.length > most) list.splice(0, list.length - most); };

export function makeState() {
  const listeners = new Map();
  const state = {
    status: null,      // flight-director: /mission/status and the stream's `status`
    statusAt: 0,       // when it came, by this page's clock
    countdown: null,   // launch-control: /countdown/status
    graph: null,       // flight-director: /mission/graph
    trajectory: null,  // flight-director: /trajectory
    frames: [],        // the stream's `frame`, at most 400
    traces: [],        // the stream's `trace`, at most 300
    alerts: [],        // the stream's `alert`, at most 50
    decisions: [],     // the suite's decision log, at most 500 (one machine only)
    suite: null,       // the suite's own state; "absent" on a cluster
    attacks: [],       // adversary-console: /attacks
    attackers: [],     // adversary-console: /attacks
    results: [],       // adversary-console: results, at most 400
    streams: { mission: "connecting", suite: "connecting", console: "connecting" },
    histories: { distance: [], speed: [], signal: [], rate: [], light: [] }, // from status, at most 240 each
  };
  return {
    state,
    on(name, listener) { if (!listeners.has(name)) listeners.set(name, []); listeners.get(name).push(listener); },
    changed(name, value) { for (const l of listeners.get(name) || []) l(value, state); },
    keep,
  };
}

export const stage = (state) => (state.suite && state.suite !== "absent" ? state.suite.stage : null);
