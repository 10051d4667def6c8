// The Cells and the calls between them. An edge is declared (mission/graph); a moving mark is a call that really happened, from
// the suite's decision log or, on a cluster, from the traces; a refused one stops at the layer that refused it.
import { $, h, s, calm } from "./dom.js";
import { verdict, identity, cellOf } from "./format.js";

// Where the Cells lie in the picture: x, y, width, columns of services.
const places = {
  "kennedy": [8, 14, 244, 1], "houston": [268, 14, 244, 1], "esa-ops": [528, 14, 244, 1],
  "orion": [8, 392, 374, 2], "deep-space-network": [398, 392, 374, 2],
};
const ROW = 52, NODE_W = 172, NODE_H = 36, MOST = 40;

export function makeCells(store) {
  const { state } = store;
  const svg = $("graph");
  const ways = s("g"), boxes = s("g"), moving = s("g");
  svg.append(ways, boxes, moving);
  let nodes = new Map(); // "cell/component" -> {x, y, element, cell}
  let cells = new Map(); // cell -> {x, y, w, h, waypoint}
  let wayOf = new Map(); // "from>to" -> path
  let selected = null;
  let drawn = "";

  const key = (cell, component) => `${cell || "outside"}/${component}`;

  function layout() {
    const graph = state.graph;
    if (!graph) return;
    // The attacker's pods are drawn where the suite, or the console, says they are.
    const rogues = [];
    if (state.suite && state.suite !== "absent") {
      for (const p of state.suite.pods || []) if (p.role !== "waypoint" && !graph.services.some((v) => v.name === p.component && v.cell === p.cell)) rogues.push({ cell: p.cell, name: p.component });
    } else {
      for (const a of state.attackers) { const [cell, name] = a.name.includes("/") ? a.name.split("/") : ["", a.name]; rogues.push({ cell: graph.cells.includes(cell) ? cell : "", name: name || a.name }); }
    }
    const signature = JSON.stringify([graph.services.length, graph.edges.length, rogues]);
    if (signature === drawn) return;
    drawn = signature;
    nodes = new Map(); cells = new Map(); wayOf = new Map();
    for (const g of [ways, boxes, moving]) g.replaceChildren();
    const outside = rogues.filter((r) => !places[r.cell]);
    for (const name of graph.cells) {
      const [x, y, w, columns] = places[name] || [528, 190, 244, 1];
      const list = graph.services.filter((v) => v.cell === name).map((v) => ({ ...v, rogue: false })).concat(rogues.filter((r) => r.cell === name).map((r) => ({ ...r, rogue: true })));
      const rows = Math.ceil(list.length / columns);
      const height = 44 + rows * ROW;
      const waypoint = s("path", { class: "waypoint", d: `M${x + w / 2} ${y - 10}l10 10-10 10-10-10z` }, s("title", {}, `waypoint of ${name}`));
      boxes.append(s("g", { class: "cell" }, s("rect", { x, y, width: w, height, rx: 14 }), s("text", { x: x + 12, y: y + 23 }, name), waypoint));
      cells.set(name, { x, y, w, h: height, waypoint });
      list.forEach((v, i) => place(v, x + (w / columns) * (i % columns) + w / columns / 2, y + 60 + Math.floor(i / columns) * ROW));
    }
    // The gateway and the attacker's pods outside the Cells stand at the bottom.
    const below = [{ cell: "", name: "ingress", rogue: false }, ...outside.map((r) => ({ ...r, rogue: true }))];
    const step = Math.min(196, 770 / below.length);
    below.forEach((v, i) => place(v, 94 + i * step, 738, v.cell));
    for (const e of graph.edges) {
      const a = nodes.get(key(cellIn(graph, e.from), bare(e.from))), b = nodes.get(key(cellIn(graph, e.to), bare(e.to)));
      if (!a || !b) continue;
      const way = s("path", { class: "way", d: curve(a, b) });
      wayOf.set(`${bare(e.from)}>${bare(e.to)}`, way);
      ways.append(way);
    }
    health();
  }

  function place(v, x, y, outsideCell) {
    const id = key(v.cell, v.name);
    const shown = (v.rogue ? "☠ " : "") + (v.name.length > 22 ? v.name.slice(0, 21) + "…" : v.name);
    const label = s("text", { x, y: y + 5 }, shown);
    const element = s("g", { class: "node" + (v.rogue ? " rogue" : ""), tabindex: 0, role: "button", "aria-label": `${shown}, ${v.cell || "outside the Cells"}${v.rogue ? ", attacker's pod" : ""}` },
      s("rect", { x: x - NODE_W / 2, y: y - NODE_H / 2, width: NODE_W, height: NODE_H, rx: 8 }),
      label);
    if (outsideCell) boxes.append(s("text", { x, y: y + 33, class: "where" }, outsideCell));
    element.addEventListener("click", () => choose(id));
    element.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); choose(id); } });
    boxes.append(element);
    // The system's font may be a wide one.
    if (label.getComputedTextLength() > NODE_W - 10) for (const [name, value] of [["textLength", NODE_W - 10], ["lengthAdjust", "spacingAndGlyphs"]]) label.setAttribute(name, value);
    nodes.set(id, { x, y, element, cell: v.cell, name: v.name });
  }

  const bare = (name) => (name.includes("/") ? name.split("/")[1] : name);
  const cellIn = (graph, name) => (name.includes("/") ? name.split("/")[0] : (graph.services.find((v) => v.name === name) || {}).cell || "");
  const curve = (a, b) => `M${a.x} ${a.y}Q${(a.x + b.x) / 2 + (a.y - b.y) / 6} ${(a.y + b.y) / 2 + (b.x - a.x) / 6} ${b.x} ${b.y}`;

  function health() {
    if (!state.suite || state.suite === "absent") return;
    for (const p of state.suite.pods || []) {
      const node = nodes.get(key(p.cell, p.component)) || nodes.get(key("", p.component)) || nodes.get(key(p.namespace, p.component));
      if (node) node.element.classList.toggle("down", !p.ready);
    }
    for (const [, cell] of cells) cell.waypoint.classList.toggle("on", state.suite.stage === "zero-trust");
  }

  const find = (cell, component) => nodes.get(key(cell, component)) || nodes.get(key("", component)) || [...nodes.values()].find((n) => n.name === component && (!cell || n.cell === cell));

  // show draws one call: from and to are {cell, component}; where it stops depends on the layer that refused it.
  function show(from, to, outcome, layer) {
    if (document.hidden || moving.childElementCount >= MOST) return;
    const a = find(from.cell, from.component), b = find(to.cell, to.component);
    if (!a || !b || a === b) return;
    const path = s("path", { d: curve(a, b), fill: "none" });
    const total = path.getTotalLength();
    const cell = cells.get(b.cell);
    const stop = outcome === "allowed" ? 1 : stopAt(path, total, cell, layer);
    const v = verdict(outcome);
    const way = wayOf.get(`${from.component}>${to.component}`);
    if (way && outcome === "allowed") { way.classList.add("busy"); setTimeout(() => way.classList.remove("busy"), 600); }
    const end = path.getPointAtLength(total * stop);
    const settle = () => {
      if (outcome === "allowed") return;
      const mark = s("text", { class: `mark v-${outcome}`, x: end.x, y: end.y }, v.mark);
      moving.append(mark);
      setTimeout(() => mark.remove(), 2600);
    };
    if (calm()) { settle(); return; }
    const dot = s("circle", { class: `pulse v-${outcome}`, r: outcome === "allowed" ? 4 : 6 });
    moving.append(dot);
    const began = performance.now(), lasts = 500 * stop + 200;
    const frame = (now) => {
      const t = Math.min((now - began) / lasts, 1);
      const p = path.getPointAtLength(total * stop * t);
      dot.setAttribute("cx", p.x); dot.setAttribute("cy", p.y);
      if (t < 1) requestAnimationFrame(frame);
      else { dot.remove(); settle(); }
    };
    requestAnimationFrame(frame);
  }

  // Layer 1 refuses at the Cell's border, layer 3 just inside, layer 2 right before the pod. Within a Cell there is no border to cross.
  function stopAt(path, total, cell, layer) {
    let border = 0.45;
    if (cell) {
      for (let i = 0; i <= 40; i++) {
        const p = path.getPointAtLength((total * i) / 40);
        if (p.x > cell.x && p.x < cell.x + cell.w && p.y > cell.y && p.y < cell.y + cell.h) { border = Math.max(i / 40, 0.25); break; }
      }
    }
    return layer === 1 ? border : layer === 3 ? Math.min(border + 0.25, 0.75) : 0.86;
  }

  function choose(id) {
    selected = id;
    detail();
  }

  function detail() {
    const box = $("service-detail");
    const node = selected && nodes.get(selected);
    if (!node) { box.hidden = true; return; }
    const here = (peer) => peer && peer.component === node.name && (!node.cell || peer.cell === node.cell || peer.namespace === node.cell);
    const last = state.decisions.filter((d) => here(d.from) || here(d.to)).slice(-8).reverse();
    const pod = state.suite && state.suite !== "absent" && (state.suite.pods || []).find((p) => p.component === node.name && (!node.cell || p.cell === node.cell || p.namespace === node.cell));
    const may = ((state.graph || {}).edges || []).filter((e) => bare(e.to) === node.name);
    box.replaceChildren(
      h("div", { class: "tools" }, h("b", {}, node.name), h("small", {}, node.cell || "outside the Cells"), h("button", { type: "button", onclick: () => { selected = null; detail(); } }, "Close")),
      pod ? h("p", {}, `${pod.identity || "no identity"} · ${pod.address || ""} · ${pod.ready ? "ready" : pod.state || "not ready"} · ${pod.restarts || 0} restarts`) : null,
      may.length ? h("p", {}, h("small", {}, "may be called by: "), may.map((e) => `${bare(e.from)} (${(e.methods || []).join(", ")})`).join(" · ")) : null,
      last.length ? h("ol", { class: "list" }, last.map((d) => h("li", {}, line(d)))) : h("p", {}, h("small", {}, state.suite === "absent" ? "The decision log of a cluster is in its proxies' logs." : "No decision yet.")),
    );
    box.hidden = false;
  }

  // Allowed requests: at zero-trust the waypoint sees each one and says so. Without it the mesh knows connections only, and the calls
  // themselves are in the traces. A refusal is always the mesh's to tell.
  const everyRequestIsDecided = () => state.suite && state.suite !== "absent" && state.suite.stage === "zero-trust";
  store.on("decision", (d) => {
    if (d.verdict !== "allowed" || (d.hop === "waypoint" && everyRequestIsDecided())) show(d.from, d.to, d.verdict, d.layer);
    if (selected) detail();
  });
  store.on("trace", (t) => {
    if (everyRequestIsDecided()) return;
    const refusalsAreKnown = state.suite && state.suite !== "absent";
    const walk = (hop) => {
      const outcome = hop.status && hop.status < 400 ? "allowed" : hop.error === "upstream-denied" ? "denied-l7" : "failed";
      if (outcome === "allowed" || !refusalsAreKnown) show({ component: bare(hop.from) }, { component: bare(hop.to) }, outcome, 3);
      (hop.hops || []).forEach(walk);
    };
    ((t.trace || t).hops || []).forEach(walk);
  });
  for (const name of ["graph", "suite", "attackers"]) store.on(name, () => { layout(); health(); if (selected) detail(); });

  $("verdict-legend").append(...["allowed", "denied-network", "denied-l4", "denied-l7", "failed"].map((v) => h("span", {}, h("b", { class: `v-${v}`, "aria-hidden": "true" }, verdict(v).mark), " ", verdict(v).word)));
}

// line says a decision in one sentence.
export function line(d) {
  const v = verdict(d.verdict);
  const who = d.from.identity ? identity(d.from.identity) : `${d.from.cell || cellOf(d.from.namespace)}/${d.from.component || d.from.address}`;
  return [
    h("b", { class: `v-${d.verdict}` }, `${v.mark} ${v.word}`), " ",
    `${who} → ${d.to.component || d.to.service || d.to.address} ${d.method ? d.method + " " + d.path : ""}`, " ",
    h("small", {}, [d.encrypted ? "mTLS" : "plaintext", d.hop, d.rule || d.policy, d.reason].filter(Boolean).join(" · ")),
  ];
}
