// The Cells and the calls between them. A line is declared (mission/graph); a moving mark is a call that really happened: a waypoint's
// record, requests that the mesh counted where no waypoint looks, or on a cluster a hop of a trace. Marks move by the compositor alone.
import { $, h, s, keyed, attribute, calm, roving } from "./dom.js";
import { attackerPod, breached } from "./verdicts.js";
import { cellOf } from "./format.js";
import { stageOf, ofThisFlight } from "./store.js";

const order = ["kennedy", "houston", "deep-space-network", "esa-ops", "orion", "outside"];
const titles = { "kennedy": "Kennedy", "houston": "Houston", "deep-space-network": "Deep Space Network", "esa-ops": "ESA Ops", "orion": "Orion", "outside": "outside the Cells" };
const most = 60; // moving marks of answered calls; a refusal is always drawn

export function makeCells(store, choose) {
  const graph = $("graph");
  const ways = s("svg", { "class": "ways", "aria-hidden": "true" });
  const moving = h("div", { "class": "moving", "aria-hidden": "true" });
  const cells = h("div", { class: "cells" });
  graph.append(ways, cells, moving);
  const settled = roving(graph, "button.node");
  let places = new Map(); // "cell/component" -> {x, y, w, h}, in pixels of the graph
  let lines = new Map();  // "from>to" -> path
  const bare = (name) => name.slice(name.indexOf("/") + 1);

  // nodes returns what stands in each Cell: the services, and of the attackers the story's and those that have acted.
  function nodes(state) {
    const { services = [] } = state.graph || {};
    const all = services.map((v) => ({ id: `${v.cell}/${v.name}`, cell: v.cell, name: v.name }));
    const story = new Set(state.attacks.filter((a) => a.category === "story").map((a) => a.attacker));
    const acted = new Set(Object.values(state.results).map((r) => r.attacker).concat(state.latest ? [state.latest.attacker] : []));
    for (const a of state.attackers) {
      if (!a.pod || (!story.has(a.name) && !acted.has(a.name))) continue;
      const cell = cellOf(a.namespace);
      all.push({ id: `${cell}/${a.pod}`, cell: titles[cell] ? cell : "outside", name: a.name, rogue: true, where: titles[cell] ? "" : cell });
    }
    if (state.attackers.length) all.push({ id: "dark-side/adversary-console", cell: "outside", name: "attacker's console", rogue: true, where: "dark-side" });
    all.push({ id: "outside/ingress", cell: "outside", name: "gateway" });
    return all;
  }

  // Drawn first when the attackers are known as well, or do not come: then nothing moves afterwards.
  const opened = performance.now();
  setTimeout(() => store.changed("layout"), 2100);
  function draw(state) {
    if (!state.graph || (!state.attackers.length && !cells.childElementCount && performance.now() - opened < 2000)) return;
    const all = nodes(state);
    const pods = new Map((state.suite?.pods || []).map((p) => [`${p.cell}/${p.component}`, p]));
    keyed(cells, order, (c) => c, (cell) => h("section", { class: `cell c-${cell}`, "aria-label": titles[cell] }, h("h3", {}, titles[cell]), h("div", { class: "nodes" })), (section, cell) => {
      keyed(section.lastChild, all.filter((n) => n.cell === cell), (n) => n.id,
        (n) => h("button", { "type": "button", "class": `node${n.rogue ? " rogue" : ""}`, "data-id": n.id, "tabindex": "-1", "onclick": () => choose(n.id) }, `${n.rogue ? "☠ " : ""}${n.name}`),
        (b, n) => {
          const pod = pods.get(n.id), down = pod && !pod.ready;
          b.classList.toggle("down", !!down);
          attribute(b, "aria-label", `${n.rogue ? "attacker " : ""}${n.name}${n.where ? ` in ${n.where}` : ""}${down ? ", not ready" : ""}`);
          attribute(b, "title", `${n.id}${down ? `: ${pod.reason || pod.state}` : ""}`);
        });
    });
    settled();
    attribute(graph, "data-stage", stageOf(state) || "unknown");
    measure();
  }

  // measure finds where everything stands, after something was added or the page has another size.
  let seen = "", size = 1; // size: how much larger than a laptop's everything is
  function measure() {
    const box = graph.getBoundingClientRect();
    const now = [...graph.querySelectorAll(".node")];
    const signature = `${Math.round(box.width)}x${Math.round(box.height)} ${now.map((n) => n.dataset.id).join()} ${store.state.graph?.edges.length}`;
    if (signature === seen || !box.width) return;
    seen = signature;
    places = new Map(now.map((n) => { const r = n.getBoundingClientRect(); return [n.dataset.id, { x: r.x - box.x + r.width / 2, y: r.y - box.y + r.height / 2, w: r.width, h: r.height, element: n }]; }));
    size = parseFloat(getComputedStyle(document.documentElement).fontSize) / 16;
    attribute(ways, "viewBox", `0 0 ${box.width} ${box.height}`);
    lines = new Map();
    const cellOfService = new Map((store.state.graph?.services || []).map((v) => [v.name, v.cell]));
    const idOf = (name) => (name === "ingress" ? "outside/ingress" : `${cellOfService.get(bare(name)) || ""}/${bare(name)}`);
    const drawn = [];
    for (const e of store.state.graph?.edges || []) {
      const from = idOf(e.from), to = idOf(e.to), a = places.get(from), b = places.get(to);
      if (!a || !b) continue;
      const [start, end, d] = curve(a, b);
      const path = s("path", { class: "way", d });
      const angle = Math.atan2(end.y - end.cy, end.x - end.cx);
      const head = s("path", { class: "head", d: `M0 0L-7 -3.5L-7 3.5Z`, transform: `translate(${end.x.toFixed(1)} ${end.y.toFixed(1)}) rotate(${((angle * 180) / Math.PI).toFixed(1)}) scale(${size})` });
      const mid = { x: 0.25 * start.x + 0.5 * end.cx + 0.25 * end.x, y: 0.25 * start.y + 0.5 * end.cy + 0.25 * end.y };
      const lock = s("path", { class: "padlock", d: "M-3.5 -0.5h7v5h-7zM-2 -0.5v-2a2 2 0 0 1 4 0v2", transform: `translate(${mid.x.toFixed(1)} ${mid.y.toFixed(1)}) scale(${size})` });
      lines.set(`${from}>${to}`, { path, keys: sample(a, b) });
      drawn.push(path, head, lock);
    }
    beam = s("g", { class: "beam" });
    ways.replaceChildren(...drawn, beam);
    aim(store.state);
  }

  // curve leaves a box and ends at the border of the other, a little bent, so that both directions are seen.
  // Between two of one column it goes round what stands between them.
  function curve(a, b) {
    if (Math.abs(a.x - b.x) < 4) {
      const side = a.y < b.y ? 1 : -1, x = a.x + (side * a.w) / 2, out = x + side * (10 * size + Math.abs(a.y - b.y) / 6);
      const start = { x, y: a.y + side * a.h * 0.2 }, end = { x, y: b.y - side * b.h * 0.2, cx: out, cy: (a.y + b.y) / 2 };
      return [start, end, `M${start.x.toFixed(1)} ${start.y.toFixed(1)}Q${out.toFixed(1)} ${end.cy.toFixed(1)} ${end.x.toFixed(1)} ${end.y.toFixed(1)}`];
    }
    const cx = (a.x + b.x) / 2 + (a.y - b.y) / 8, cy = (a.y + b.y) / 2 + (b.x - a.x) / 8;
    const start = border(a, cx, cy), end = border(b, cx, cy);
    return [start, { ...end, cx, cy }, `M${start.x.toFixed(1)} ${start.y.toFixed(1)}Q${cx.toFixed(1)} ${cy.toFixed(1)} ${end.x.toFixed(1)} ${end.y.toFixed(1)}`];
  }
  function border(box, x, y) {
    const dx = x - box.x, dy = y - box.y;
    const f = Math.min(dx ? box.w / 2 / Math.abs(dx) : 9, dy ? box.h / 2 / Math.abs(dy) : 9, 1);
    return { x: box.x + dx * f, y: box.y + dy * f };
  }
  // sample returns the curve as keyframes for the compositor.
  function sample(a, b) {
    const [start, end] = curve(a, b), keys = [];
    for (let i = 0; i <= 8; i++) {
      const t = i / 8, u = 1 - t;
      keys.push({ transform: `translate(${(u * u * start.x + 2 * u * t * end.cx + t * t * end.x).toFixed(1)}px, ${(u * u * start.y + 2 * u * t * end.cy + t * t * end.y).toFixed(1)}px)` });
    }
    return keys;
  }

  // pulse draws one call. The marks are kept and used again: a call costs no layout.
  const resting = [];
  let flying = 0;
  function pulse(from, to, kind, mark, delay = 0) {
    if (document.hidden || (kind === "allowed" && flying >= most)) return;
    const a = places.get(from), b = places.get(to);
    if (!a || !b || a === b) return;
    const line = lines.get(`${from}>${to}`);
    const keys = line ? line.keys : sample(a, b);
    const refused = kind !== "allowed";
    const dot = resting.pop() || moving.appendChild(h("i", { class: "pulse" }));
    flying++;
    dot.dataset.call = `${from}>${to}`;
    dot.className = `pulse ${kind}`;
    dot.textContent = refused ? mark : "";
    const way = calm() ? [keys[refused ? 5 : 8], keys[refused ? 5 : 8]] : refused ? keys.slice(0, 6).concat(Array(14).fill(keys[5])) : keys; // a refusal stays where it fell
    const motion = dot.animate(way.map((k) => ({ ...k, opacity: 1 })), { duration: refused ? 2600 : calm() ? 500 : 650, delay, easing: "linear" });
    motion.onfinish = motion.oncancel = () => { flying--; resting.push(dot); };
  }

  store.on("event:decision", (d) => {
    if (d.verdict === "allowed" && d.hop !== "waypoint") return; // the mesh counts those calls
    const id = (p) => (p.component === "ingress" ? "outside/ingress" : `${p.cell || p.namespace}/${p.component}`);
    pulse(id(d.from), id(d.to), d.verdict === "allowed" ? "allowed" : d.verdict === "failed" ? "failed" : "refused", { "denied-network": "1", "denied-l4": "2", "denied-l7": "3" }[d.verdict] || "✕");
  });
  store.on("event:calls", (calls) => {
    for (const c of calls) for (let i = 0; i < Math.min(c.answered, 3); i++) pulse(c.from, c.to, "allowed", "", i * 160);
  });
  store.on("event:trace", (t, state) => {
    if (state.mode === "local") return;
    const cellOfService = new Map((state.graph?.services || []).map((v) => [v.name, v.cell]));
    const id = (name) => `${cellOfService.get(bare(name)) || ""}/${bare(name)}`;
    const walk = (hop) => { pulse(id(hop.from), id(hop.to), hop.status && hop.status < 400 ? "allowed" : "failed", "✕"); (hop.hops || []).forEach(walk); };
    ((t.trace || t).hops || []).forEach(walk);
  });

  // The attack in the graph: a thick stroke from the rogue to its target, broken where a layer answered. All else is dimmed meanwhile.
  let beam = s("g", { class: "beam" });
  let calming = 0;
  function aim(state) {
    const a = state.latest && ofThisFlight(state, state.latest.at) ? state.latest : null;
    for (const hot of graph.querySelectorAll(".hot")) hot.classList.remove("hot", "struck", "safe");
    beam.replaceChildren();
    if (!a) { graph.classList.remove("attacking"); return; }
    const who = a.attacker === "outside" ? "outside/ingress" : attackerPod(state.attackers, a.attacker);
    const targetCell = (state.graph?.services || []).find((v) => v.name === a.target)?.cell;
    const from = places.get(who), to = places.get(targetCell ? `${targetCell}/${a.target}` : `dark-side/${a.target}`);
    const r = a.result;
    const fresh = !r || Date.now() - Date.parse(r.at) < 20000;
    graph.classList.toggle("attacking", fresh);
    clearTimeout(calming);
    if (r && fresh) calming = setTimeout(() => graph.classList.remove("attacking"), 9000);
    for (const end of [from, to]) if (end) end.element.classList.add("hot");
    if (!from || !to || from === to) return;
    const [, , d] = curve(from, to);
    const stopped = r && /^denied/.test(r.verdict);
    const is = !r ? "flying" : breached(r) ? "breached" : stopped ? "stopped" : "open";
    if (r) to.element.classList.add(breached(r) ? "struck" : "safe");
    attribute(beam, "data-run", a.run);
    attribute(beam, "class", `beam ${is}`);
    const path = s("path", { d, pathLength: 100, class: "stroke" });
    beam.append(path);
    if (stopped) {
      const t = 0.62, keys = sample(from, to), [x, y] = /translate\((.+)px, (.+)px\)/.exec(keys[Math.round(t * 8)].transform).slice(1);
      beam.append(s("g", { transform: `translate(${x} ${y}) scale(${size})` }, s("path", { class: "shield", d: "M0 -13L11 -9V1C11 8 5 12 0 14C-5 12 -11 8 -11 1V-9Z" }), s("text", { y: 5 }, String(r.layer || "?"))));
    }
  }
  store.on(["latest", "attacks", "condition"], aim);
  store.on("event:attack", (_, state) => aim(state));

  store.on(["graph", "suite", "attacks", "results", "latest", "layout"], draw);
  new ResizeObserver(() => store.changed("layout")).observe(graph);
  $("graph-legend").append(
    h("span", {}, h("i", { class: "key allowed" }), " a call that was answered"),
    h("span", {}, h("i", { class: "key refused" }, "3"), " refused, by which layer"),
    h("span", {}, h("i", { class: "key failed" }, "✕"), " failed"),
    h("span", {}, "padlock: encrypted"));
}
