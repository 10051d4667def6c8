// Every call as a row: the mesh's decisions, and what flight-director's own calls came to. Rows are kept, new ones come on top; while
// somebody reads (pointer or focus inside, or paused) nothing moves.
import { $, h, keyed, refill, text } from "./dom.js";
import { time, number, peer, identity } from "./format.js";
import { decided } from "./verdicts.js";

const most = 150;
const short = (name) => name.slice(name.lastIndexOf("/") + 1);

export function makeTrace(store) {
  const view = $("view-trace");
  let paused = false, words = "", kind = "all", reading = false;
  const body = h("tbody"), count = h("small"), detail = h("div", { class: "evidence", id: "call" });
  const pause = h("button", { "type": "button", "aria-pressed": "false", "onclick": () => { paused = !paused; pause.setAttribute("aria-pressed", String(paused)); text(pause, paused ? "Go on" : "Pause"); draw(store.state); } }, "Pause");
  const scroll = h("div", { "class": "scroll", "tabindex": "0", "role": "region", "aria-label": "table of calls" }, h("table", { class: "calls" }, h("caption", { class: "hidden" }, "calls, newest first"),
    h("thead", {}, h("tr", {}, ["time", "from", "to", "call", "outcome", "ms"].map((t) => h("th", { scope: "col" }, t)))), body));
  view.append(h("div", { class: "tools" },
    h("input", { "type": "search", "aria-label": "show only calls with this text", "placeholder": "service, path, policy", "oninput": (e) => { words = e.target.value.toLowerCase(); draw(store.state, true); } }),
    h("select", { "aria-label": "which calls", "onchange": (e) => { kind = e.target.value; draw(store.state, true); } }, [["all", "all"], ["refused", "refused"], ["failed", "failed"], ["attacks", "of attackers"]].map(([v, t]) => h("option", { value: v }, t))),
    pause, count), scroll, detail);
  for (const [on, is] of [["pointerenter", true], ["pointerleave", false], ["focusin", true], ["focusout", false]]) scroll.addEventListener(on, () => { reading = is; if (!is) draw(store.state); });

  function rows(state) {
    const rogues = new Map(state.attackers.filter((a) => a.pod).map((a) => [`${a.namespace}/${a.pod}`, a.name]));
    const of = (d) => rogues.get(`${d.from.namespace}/${d.from.component}`);
    const oldest = state.decisions.length ? state.decisions[0].seq : 0;
    const list = state.refusals.filter((d) => d.seq < oldest).concat(state.decisions).map((d) => ({ key: `d${d.seq}`, at: d.at, from: peer(d.from), to: peer(d.to), call: d.method ? `${d.method} ${d.path}` : "connection", ...decided(d.verdict), rogue: of(d), ms: d.durationUs ? d.durationUs / 1000 : null, raw: d }));
    // What the mesh saw as connections only, the callers' own traces name request by request.
    const seen = new Set(state.decisions.map((d) => d.traceId).filter(Boolean));
    for (const t of state.traces) {
      const tree = t.trace || t;
      if (seen.has(tree.traceId)) continue;
      const walk = (hop, depth) => {
        list.push({ key: `t${tree.traceId}${list.length}`, id: `${tree.traceId} ${depth} ${hop.from} ${hop.to} ${hop.path}`, at: t.at || tree.at, from: hop.from, to: hop.to, call: `${hop.method} ${hop.path}`, mark: "", word: hop.status ? String(hop.status) : hop.error || "no answer", kind: hop.status && hop.status < 400 ? "allowed" : "failed", ms: hop.durationMs, raw: { hop, trace: tree } });
        (hop.hops || []).forEach((x) => walk(x, depth + 1));
      };
      (tree.hops || []).forEach((x, i) => walk(x, i * 100));
    }
    for (const r of list) if (r.id) r.key = r.id;
    return list.sort((a, b) => (a.at < b.at ? 1 : a.at > b.at ? -1 : 0));
  }

  function draw(state, asked) {
    if (view.hidden || ((paused || reading) && !asked)) return;
    const all = rows(state);
    const list = all.filter((r) => (kind === "all" || (kind === "attacks" ? r.rogue : r.kind === kind)) && (!words || JSON.stringify([r.from, r.to, r.call, r.word, r.raw.policy, r.raw.rule, r.raw.reason]).toLowerCase().includes(words)));
    text(count, `${Math.min(list.length, most)} of ${all.length}`);
    keyed(body, list.slice(0, most), (r) => r.key, (r) => h("tr", { class: `d-${r.kind}${r.rogue ? " rogue" : ""}` },
      h("td", {}, time(r.at)), h("td", { title: r.from }, r.rogue ? `☠ ${r.rogue}` : short(r.from)), h("td", { title: r.to }, short(r.to)), h("th", { scope: "row" }, h("button", { type: "button", onclick: () => show(r) }, r.call)), h("td", {}, `${r.mark} ${r.word}`), h("td", { class: "num" }, number(r.ms, 1))));
  }

  function show(r) {
    const d = r.raw;
    const row = (name, value) => (value ? h("div", {}, h("dt", {}, name), h("dd", {}, value)) : null);
    const target = r.to.split("/").pop();
    const line = d.trace ? `artemis exec ${d.trace.cell}/${d.hop.from} -- curl -sS -X ${d.hop.method} http://${target}:8080${d.hop.path}` : d.method && d.from.component && d.from.component !== "ingress" ? `artemis exec ${r.from} -- curl -sS -X ${d.method} http://${target}${d.to.namespace ? "." + d.to.namespace : ""}:8080${d.path}` : "";
    refill(detail, h("div", { class: "tools" }, h("b", { class: "name" }, `${r.from} → ${r.to}`), h("button", { type: "button", onclick: () => refill(detail) }, "Close")),
      h("dl", { class: "facts" },
        row("call", h("code", {}, r.call)), row("outcome", `${r.kind === "refused" ? "refused by the " : ""}${r.word}${d.layer ? ` · layer ${d.layer}` : ""}${d.stage ? ` · stage ${d.stage}` : ""}`),
        row("identity", d.from && identity(d.from.identity)), row("decided by", d.hop && !d.trace ? `${d.hop} · ${d.encrypted ? "mTLS" : "plaintext"}` : ""), row("policy", d.policy && h("code", {}, d.policy)), row("rule", d.rule && h("code", {}, d.rule)), row("reason", d.reason), row("trace", d.traceId || d.trace?.traceId),
        line ? row("again", h("code", {}, line)) : null),
      h("details", {}, h("summary", {}, "everything that is known"), h("pre", {}, JSON.stringify(d.trace || d, null, 1).slice(0, 6000))));
  }

  let due = 0;
  store.on(["decisions", "trace", "tab"], () => { if (!due) due = setTimeout(() => { due = 0; draw(store.state); }, 400); });
}
