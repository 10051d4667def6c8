// One service: who can call it, and what was decided about it lately. The answer is the analysis' where the launcher has it, else the
// mission's own table, and it says which.
import { $, h, keyed, refill, text } from "./dom.js";
import { call, pathsOf } from "./net.js";
import { number, time, peer } from "./format.js";
import { decided, callOf } from "./verdicts.js";
import { stageOf } from "./store.js";

const paths = pathsOf(location.href);

export function makeService(store, open) {
  const name = h("h3", {}, "Who can call this?"), about = h("p"), who = h("div", { class: "who", role: "status" }), log = h("ol", { class: "list", "aria-label": "latest decisions" });
  $("view-service").append(name, about, who, h("h4", {}, "Decided lately"), log);
  let chosen = null, asked = "";
  const bare = (id) => id.slice(id.indexOf("/") + 1);

  function draw(state) {
    if (!chosen) { text(about, "Choose a service in the picture."); return; }
    const pod = (state.suite?.pods || []).find((p) => `${p.cell}/${p.component}` === chosen);
    const rogue = state.attackers.find((a) => a.pod && chosen.endsWith(`/${a.pod}`) && pod?.namespace === a.namespace);
    text(name, `Who can call ${chosen}?`);
    text(about, [rogue && `Attacker ${rogue.name}: ${rogue.about}.`, pod && `${pod.identity || "no identity"} · ${pod.address || ""} · ${pod.ready ? "ready" : pod.state || "not ready"}${pod.restarts ? ` · ${pod.restarts} restarts` : ""}`].filter(Boolean).join(" "));
    ask(state);
    const here = (p) => peer(p) === chosen || (p?.component === bare(chosen) && (p.cell || p.namespace) === chosen.split("/")[0]);
    keyed(log, state.decisions.filter((d) => here(d.from) || here(d.to)).slice(-12).reverse(), (d) => d.seq, (d) => h("li", {}, h("small", {}, time(d.at)), " ", h("b", { class: `d-${decided(d.verdict).kind}` }, `${decided(d.verdict).kind === "refused" ? "refused by the " : ""}${decided(d.verdict).word}`), ` ${callOf(d)} `, h("small", {}, [d.encrypted ? "mTLS" : "plaintext", d.hop, d.rule || d.policy, d.reason].filter(Boolean).join(" · "))));
  }

  // ask asks once for a service at a stage.
  async function ask(state) {
    const question = `${chosen} ${stageOf(state)} ${state.mode}`;
    if (question === asked) return;
    asked = question;
    const declared = (state.graph?.edges || []).filter((e) => bare(e.to) === bare(chosen));
    const fallback = (why) => refill(who,
      declared.length ? h("ul", { class: "list" }, declared.map((e) => h("li", {}, h("b", {}, bare(e.from) === "ingress" ? "the operator, through the gateway" : e.from), ` ${e.methods.join(", ")} ${e.paths.join(" ")}`))) : h("p", {}, "Nobody is declared to call it."),
      h("p", {}, h("small", {}, why)));
    if (state.mode !== "local") { fallback("From the mission's table of declared callers: true at stage zero-trust. `artemis who-can` over the manifests proves it."); return; }
    const r = await call("GET", `${paths.suite}who-can?to=${encodeURIComponent(chosen)}`, undefined, 10000);
    if (asked !== question) return;
    if (!r.ok || !r.body) { fallback(stageOf(state) === "zero-trust" ? "From the mission's table of declared callers." : `From the mission's table of declared callers, which stage ${stageOf(state)} does not enforce: more can call it than these.`); return; }
    const b = r.body;
    point((b.callers || []).map((c) => c.caller));
    refill(who,
      h("p", { class: `verdict w-${b.nobodyElse ? "mission" : "nobody"}` }, b.sentence || ""),
      h("ul", { class: "list" }, (b.callers || []).map((c) => h("li", {}, h("b", {}, c.caller), c.kind === "workload" ? "" : h("small", {}, ` ${c.kind}`),
        (c.requests || []).map((q) => h("div", { title: q.example?.command || "" }, q.words, (q.conditions || []).length ? ` where ${q.conditions.join(", ")}` : "", h("small", {}, ` by ${(q.ways || []).join(", ")}`)))))),
      (b.notJudged || []).map((n) => h("p", {}, `Not judged: ${typeof n === "string" ? n : JSON.stringify(n)}`)),
      b.extent ? h("p", {}, h("small", {}, `${b.verdict === "proven" ? "For every request" : "Not for every request"} at stage ${b.stage}: ${b.extent.decisions} decisions over ${(b.extent.ways || []).length} ways, ${number(b.extent.milliseconds, 1)} ms. Not covered: ${(b.extent.not || []).join("; ")}.`)) : null);
  }

  // point marks the callers in the picture for as long as the view is open.
  function point(ids) { for (const n of document.querySelectorAll("#graph .node")) n.classList.toggle("caller", ids.includes(n.dataset.id)); }
  store.on("tab", () => { if ($("view-service").hidden) point([]); });
  store.on(["suite", "decisions", "graph", "tab"], (state) => { if (!$("view-service").hidden) draw(state); });
  return (id) => { chosen = id; asked = ""; refill(who); open("service"); draw(store.state); };
}
