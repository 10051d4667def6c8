// The feed: one stream for everything that happens, whatever number of pages shows it. startFeed runs in a shared worker, or in the page
// itself where there is none. It hands on messages {kind, data} for the store.
import { call, pathsOf } from "./net.js";

const firstPause = 300, lastPause = 3000;

// startFeed runs until stop() is called.
export function startFeed(page, post) {
  const paths = pathsOf(page);
  let stopped = false, epoch = null, last = 0;
  const closing = new Set();
  const later = (ms, work) => { const t = setTimeout(() => { closing.delete(end); if (!stopped) work(); }, ms); const end = () => clearTimeout(t); closing.add(end); };
  const get = (path) => call("GET", path, undefined, 8000);

  // follow keeps a stream of events open and says in what state it is: connecting, live or lost.
  function follow(name, path, kinds, opened = () => {}) {
    let pause = firstPause;
    const open = () => {
      const source = new EventSource(path());
      const close = () => source.close();
      closing.add(close);
      source.onopen = () => { pause = firstPause; post({ kind: "stream", data: { name, now: "live" } }); opened(); };
      source.onerror = () => {
        close();
        closing.delete(close);
        post({ kind: "stream", data: { name, now: "lost" } });
        later(pause, open);
        pause = Math.min(pause * 2, lastPause);
      };
      for (const [kind, take] of Object.entries(kinds)) {
        source.addEventListener(kind, (event) => {
          let data;
          try { data = JSON.parse(event.data); } catch { return; }
          take(data);
        });
      }
    };
    open();
  }

  const hand = (kind) => (data) => post({ kind, data });
  const attacks = async () => { const r = await get(`${paths.suite}attacks`); if (r.ok && r.body) post({ kind: "attacks", data: r.body }); return r; };

  async function suite() {
    const r = await get(`${paths.suite}state`);
    if (stopped) return;
    if (r.status === 403 || r.status === 404) { post({ kind: "mode", data: r.status === 404 ? "cluster" : "viewer" }); cluster(); return; }
    if (!r.ok || !r.body || !r.body.startedAt) { post({ kind: "stream", data: { name: "suite", now: "lost" } }); later(1000, suite); return; }
    follow("suite", () => `${paths.suite}events${last ? `?since=${last}&epoch=${encodeURIComponent(epoch)}` : ""}`, {
      state: (now) => { if (now.startedAt !== epoch) last = 0; epoch = now.startedAt; post({ kind: "suite", data: now }); },
      decision: (d) => { last = Math.max(last, d.seq); post({ kind: "decision", data: d }); },
      attack: hand("attack"),
      calls: hand("calls"),
    }, attacks);
    const again = async () => { await attacks(); later(5000, again); };
    later(5000, again);
  }

  // Without a launcher the attacker's console says what its pods saw.
  async function cluster() {
    let next = 0;
    const again = async () => {
      const list = await get(`${paths.console}attacks`);
      const now = list.status === 404 || list.status === 403 ? "absent" : list.ok ? "live" : "lost";
      post({ kind: "stream", data: { name: "console", now } });
      if (list.ok && list.body) {
        const r = await get(`${paths.console}results?since=${next}`);
        if (r.ok && r.body) next = r.body.next;
        post({ kind: "attacks", data: { ...list.body, results: (r.body && r.body.results) || [] } });
      }
      later(now === "live" ? 2000 : 10000, again);
    };
    again();
  }

  const often = (path, kind, every, pick = (b) => b) => {
    const again = async () => { const r = await get(path); if (stopped) return; if (r.ok && r.body) post({ kind, data: pick(r.body) }); later(every, again); };
    again();
  };
  const status = (s) => ({ status: s, at: Date.now() });

  suite();
  follow("mission", () => `${paths.director}events`, {
    status: (m) => post({ kind: "status", data: status(m) }),
    frame: hand("frame"), trace: hand("trace"), alert: hand("alert"),
  });
  get(`${paths.director}mission/status`).then((r) => { if (r.ok && r.body && !stopped) post({ kind: "status", data: status(r.body) }); });
  const graph = async () => { const r = await get(`${paths.director}mission/graph`); if (stopped) return; if (r.ok && r.body) post({ kind: "graph", data: r.body }); else later(1500, graph); };
  graph();
  often(`${paths.director}trajectory`, "trajectory", 2000);
  often(`${paths.launch}countdown/status`, "countdown", 1000);

  return () => { stopped = true; for (const close of closing) close(); closing.clear(); };
}
