// What the operator may do, through the gateway, and what really came of it: refusals and errors in the words of who gave them.
import { $, h, put, refill, keyed, announce } from "./dom.js";
import { call, reason, pathsOf } from "./net.js";
import { number, time } from "./format.js";

const paths = pathsOf(location.href);

export function makeOperator(store, act) {
  const view = $("view-operator");
  const outcome = () => h("div", { class: "came", role: "status" });

  async function run(box, title, method, path, body) {
    box.className = "came";
    box.textContent = `${title} …`;
    const r = await call(method, path, body);
    const refused = r.status === 403 && /RBAC/.test(r.text);
    box.className = `came w-${r.ok ? "none" : refused ? "mission" : "nobody"}`;
    const said = r.ok ? `${title}: ${(r.body && (r.body.status || r.body.state || r.body.decision)) || "done"}` : refused ? `${title}: refused by the waypoint (403 RBAC: access denied)` : `${title}: ${reason(r)}`;
    refill(box, `${said} (${r.status || "no status"}, ${number(r.ms, 0)} ms)`, r.body ? h("details", {}, h("summary", {}, "answer"), h("pre", {}, JSON.stringify(r.body, null, 1).slice(0, 4000))) : null);
    announce(said);
    return r;
  }

  const counting = outcome();
  const count = (verb) => run(counting, `countdown ${verb}`, "POST", `${paths.launch}countdown/${verb}`, {});
  put(view, h("div", { class: "card" }, h("h3", {}, "Countdown · kennedy/launch-control"),
    h("div", { class: "tools" },
      h("button", { type: "button", class: "main", id: "start", onclick: () => count("start") }, "Start"),
      ["hold", "resume", "scrub"].map((v) => h("button", { type: "button", onclick: () => count(v) }, v[0].toUpperCase() + v.slice(1))),
      h("button", { type: "button", id: "new-flight", onclick: act.newFlight }, "New flight")),
    counting));

  const form = (title, fields, words, send) => {
    const box = outcome();
    const inputs = Object.fromEntries(fields.map(([name, label, attributes]) => [name, h("input", { name, "aria-label": label, ...attributes })]));
    put(view, h("form", { class: "card", onsubmit: (e) => { e.preventDefault(); send(box, inputs); } }, h("h3", {}, title),
      fields.map(([name, label]) => h("label", {}, h("span", {}, label), inputs[name])), h("div", { class: "tools" }, h("button", { type: "submit" }, words)), box));
  };
  form("Course correction · houston → capcom → Orion", [["deltaV", "delta-v, m/s", { type: "number", step: "0.1", value: "2.3", required: true }]], "Send the burn",
    (box, f) => run(box, "burn", "POST", `${paths.director}uplink/command`, { type: "course-correction", deltaV: Number(f.deltaV.value) }));
  form("Voice to the crew", [["message", "message", { class: "wide", value: "Integrity, Houston: you look good for the flyby.", maxlength: 300, required: true }]], "Say it",
    (box, f) => run(box, "voice", "POST", `${paths.director}uplink/command`, { type: "crew-message", message: f.message.value }));
  form("Abort", [["reason", "reason", { class: "wide", value: "operator's decision", maxlength: 200, required: true }]], "Abort the mission",
    (box, f) => { if (confirm("Abort the mission? The spacecraft goes to its abort mode.")) run(box, "abort", "POST", `${paths.director}decision/abort`, { reason: f.reason.value }); });

  const heard = h("ul", { class: "list" });
  put(view, h("div", { class: "card" }, h("h3", {}, "From the spacecraft"), heard));
  store.on(["alert", "status"], (state) => {
    const messages = (state.status?.messages || []).map((m) => ({ key: `m${m.id || m.receivedAt}`, at: m.receivedAt, words: `${m.from || "crew"}: ${m.text || m.message || ""}` }));
    const alerts = state.alerts.map((a) => ({ key: `a${a.id}`, at: a.at, words: `${a.severity ? a.severity + ": " : ""}${a.text}` }));
    keyed(heard, messages.concat(alerts).sort((a, b) => (a.at < b.at ? 1 : -1)).slice(0, 12), (x) => x.key, (x) => h("li", {}, h("small", {}, time(x.at)), " ", x.words));
  });
}
