// What the operator may do, through the gateway, and what really came of it: refusals and errors in the words of who gave them.
import { $, h, announce } from "./dom.js";
import { call, reason, paths } from "./net.js";
import { number } from "./format.js";

export function makeOperator(store) {
  const view = $("view-operator");
  const outcome = () => h("p", { class: "outcome", role: "status" });

  async function run(box, title, method, path, body) {
    box.className = "outcome";
    box.textContent = `${title} …`;
    const r = await call(method, path, body);
    const denied = r.status === 403 && /RBAC/.test(r.text);
    box.className = "outcome " + (r.ok ? "v-allowed" : denied ? "v-denied-l7" : "v-failed");
    const said = r.ok ? `${title}: ${(r.body && (r.body.status || r.body.state || r.body.decision)) || "done"}` : denied ? `${title}: refused by the waypoint (403 RBAC: access denied)` : `${title}: ${reason(r)}`;
    box.replaceChildren(said + ` (${r.status || "no status"}, ${number(r.ms, 0)} ms)`);
    if (r.body) box.append(h("details", {}, h("summary", {}, "answer"), h("pre", {}, JSON.stringify(r.body, null, 1).slice(0, 4000))));
    announce(said);
    store.changed("operated", r);
    return r;
  }

  const counting = outcome();
  const count = (verb) => run(counting, `countdown ${verb}`, "POST", `${paths.launch}countdown/${verb}`, {});
  view.append(h("div", { class: "card" }, h("h3", {}, "Countdown (kennedy/launch-control)"),
    h("div", { class: "tools" },
      h("button", { type: "button", class: "main", id: "start", onclick: () => count("start") }, "Start"),
      h("button", { type: "button", onclick: () => count("hold") }, "Hold"),
      h("button", { type: "button", onclick: () => count("resume") }, "Resume"),
      h("button", { type: "button", onclick: () => count("scrub") }, "Scrub"),
      h("button", { type: "button", onclick: () => run(counting, "status", "GET", `${paths.launch}countdown/status`) }, "Status")),
    counting));

  const form = (title, fields, label, send) => {
    const box = outcome();
    const inputs = Object.fromEntries(fields.map(([name, text, attributes]) => [name, h("input", { name, "aria-label": text, ...attributes })]));
    view.append(h("form", { class: "card", onsubmit: (e) => { e.preventDefault(); send(box, inputs); } }, h("h3", {}, title),
      fields.map(([name, text]) => h("label", {}, text, inputs[name])), h("div", { class: "tools" }, h("button", { type: "submit" }, label)), box));
  };
  form("Course correction (houston → capcom → Orion)", [["deltaV", "delta-v, m/s", { type: "number", step: "0.1", value: "2.3", required: true }]], "Send the burn",
    (box, f) => run(box, "burn", "POST", `${paths.director}uplink/command`, { type: "course-correction", deltaV: Number(f.deltaV.value) }));
  form("Voice to the crew", [["message", "message", { class: "wide", value: "Integrity, Houston: you look good for the flyby.", maxlength: 300, required: true }]], "Say it",
    (box, f) => run(box, "voice", "POST", `${paths.director}uplink/command`, { type: "crew-message", text: f.message.value }));
  form("Abort", [["reason", "reason", { class: "wide", value: "operator's decision", maxlength: 200, required: true }]], "Abort the mission",
    (box, f) => { if (confirm("Abort the mission? The spacecraft goes to its abort mode.")) run(box, "abort", "POST", `${paths.director}decision/abort`, { reason: f.reason.value }); });

  const alerts = h("ul", { class: "list" });
  view.append(h("div", { class: "card" }, h("h3", {}, "From the spacecraft"), alerts));
  store.on("alert", () => {
    const { alerts: known } = store.state;
    alerts.replaceChildren(...known.slice(-12).reverse().map((a) => h("li", {}, `${a.severity ? a.severity + ": " : ""}${a.message || a.text || JSON.stringify(a)}`)));
  });
  return { count };
}
