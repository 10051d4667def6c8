// The signal trace: every call tree that flight-director saw, and every decision of the mesh about it. Filter, pause, copy as curl.
import { $, h } from "./dom.js";
import { time, number, verdict } from "./format.js";
import { line } from "./cells.js";

export function makeTrace(store) {
  const { state } = store;
  let paused = false, filter = "", refused = false;
  const list = h("ol", { class: "list", "aria-label": "calls, newest first" });
  const count = h("small");
  const pause = h("button", { type: "button", "aria-pressed": "false", onclick: () => { paused = !paused; pause.setAttribute("aria-pressed", String(paused)); pause.textContent = paused ? "Go on" : "Pause"; if (!paused) draw(); } }, "Pause");
  $("view-trace").append(
    h("div", { class: "tools" },
      h("input", { type: "search", "aria-label": "show only calls with this text", placeholder: "filter: service, path, identity", oninput: (e) => { filter = e.target.value.toLowerCase(); draw(true); } }),
      h("label", {}, h("input", { type: "checkbox", onchange: (e) => { refused = e.target.checked; draw(true); } }), " refused only"),
      pause, count),
    list);

  function entries() {
    const decisions = new Map();
    for (const d of state.decisions) if (d.traceId) { if (!decisions.has(d.traceId)) decisions.set(d.traceId, []); decisions.get(d.traceId).push(d); }
    const rows = [];
    const told = new Set();
    for (const t of state.traces) {
      const tree = t.trace || t;
      told.add(tree.traceId);
      rows.push({ at: t.at || tree.at, id: tree.traceId, tree, decisions: decisions.get(tree.traceId) || [] });
    }
    // A refused call has no trace of ours: the mesh alone knows of it.
    for (const d of state.decisions) if (!told.has(d.traceId) && (d.verdict !== "allowed" || d.hop === "waypoint")) rows.push({ at: d.at, id: `${d.seq}`, decision: d, decisions: [d] });
    return rows.sort((a, b) => (a.at < b.at ? 1 : -1));
  }

  const failedHop = (hop) => (hop.status >= 400 || hop.error ? true : (hop.hops || []).some(failedHop));
  const bad = (row) => row.decisions.some((d) => d.verdict !== "allowed") || ((row.tree && row.tree.hops) || []).some(failedHop);

  function hops(list) {
    return h("ul", { class: "hops" }, list.map((p) => h("li", {},
      h("b", { class: p.status && p.status < 400 ? "v-allowed" : "v-failed" }, p.status ? String(p.status) : "no answer"),
      ` ${p.from} → ${p.to} ${p.method} ${p.path} `, h("small", {}, `${number(p.durationMs, 1, "ms")}${p.error ? " · " + (p.error.detail || p.error.code || p.error) : ""}`),
      (p.hops || []).length ? hops(p.hops) : null)));
  }

  function show(row) {
    if (!row.tree) {
      return h("li", {}, h("details", {}, h("summary", {}, time(row.at), " ", line(row.decision)), h("pre", {}, JSON.stringify(row.decision, null, 1))));
    }
    const { tree } = row;
    const caller = tree.caller || {};
    const worst = row.decisions.find((d) => d.verdict !== "allowed");
    return h("li", {}, h("details", {},
      h("summary", {}, `${time(row.at)} ${tree.service} ${(tree.hops || []).length} calls `, worst ? h("b", { class: `v-${worst.verdict}` }, verdict(worst.verdict).word) : bad(row) ? h("b", { class: "v-failed" }, "with errors") : null),
      h("p", {}, h("small", {}, `caller: ${caller.identity || "unknown"} ${caller.identity ? (caller.claimed ? "(claimed, nobody vouches for it)" : "(proven by the waypoint)") : ""} · trace ${tree.traceId || "–"}`)),
      hops(tree.hops || []),
      row.decisions.length ? h("ul", { class: "hops" }, row.decisions.map((d) => h("li", {}, line(d)))) : null,
      h("button", { type: "button", onclick: (e) => copy(e.target, tree) }, "Copy as curl")));
  }

  async function copy(button, tree) {
    const first = (tree.hops || [])[0];
    const text = `artemis exec ${tree.cell}/${tree.service} -- curl -sS -X ${first ? first.method : "GET"} http://${first ? first.to.split("/").pop() : tree.service}:8080${first ? first.path : "/"}`;
    try { await navigator.clipboard.writeText(text); button.textContent = "Copied"; } catch { button.textContent = text; }
  }

  let due = 0, open = false;
  list.addEventListener("toggle", () => { open = !!list.querySelector("details[open]"); }, true);
  function draw(now) {
    if ($("view-trace").hidden || (paused && !now) || (open && !now)) return;
    const rows = entries().filter((r) => (!refused || bad(r)) && (!filter || JSON.stringify([r.tree, r.decisions]).toLowerCase().includes(filter)));
    count.textContent = `${rows.length} of the last ${state.traces.length + state.decisions.length}`;
    list.replaceChildren(...rows.slice(0, 60).map(show));
    if (!rows.length) list.append(h("li", {}, h("small", {}, "Nothing to show yet.")));
  }
  const later = () => { if (!due) due = setTimeout(() => { due = 0; draw(); }, 500); };
  for (const name of ["trace", "decision", "tab"]) store.on(name, later);
  later();
}
