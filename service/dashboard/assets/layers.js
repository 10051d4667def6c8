// The three layers and the present stage. On one machine a layer is switched from here; on a cluster the exact command is shown.
import { $, h, announce } from "./dom.js";
import { call, reason, paths } from "./net.js";

const stages = [
  { id: "open", name: "1 Cells", what: "NetworkPolicies: what is isolated" },
  { id: "mtls", name: "2 Identity", what: "mTLS: who is calling" },
  { id: "zero-trust", name: "3 Authorization", what: "waypoints: what is allowed" },
];

export function makeLayers(store) {
  const { state } = store;
  const buttons = stages.map((g, i) => {
    const word = h("small");
    const b = h("button", { "type": "button", "aria-pressed": "false", "title": g.what, "aria-keyshortcuts": `Shift+${i + 1}`, "onclick": () => change(g.id) }, g.name, word);
    $("layers").append(b);
    return { ...g, b, word, level: i };
  });
  let before = null;

  function draw() {
    const suite = state.suite;
    const level = suite && suite !== "absent" ? stages.findIndex((g) => g.id === suite.stage) : -1;
    for (const x of buttons) {
      x.b.setAttribute("aria-pressed", String(level >= x.level));
      x.word.textContent = level < 0 ? (suite === "absent" ? `make stage-${x.id}` : "unknown") : level >= x.level ? (level === x.level ? `on · stage ${x.id}` : "on") : "off";
    }
    if (level >= 0) {
      $("layers").setAttribute("aria-label", `the three layers, stage ${suite.stage}, ${suite.capture === "proxy" ? "cooperative capture" : "capture " + suite.capture}`);
      if (before !== null && before !== suite.stage) announce(`Stage ${suite.stage} is in force.`);
      before = suite.stage;
    }
  }

  async function change(to) {
    if (state.suite === "absent") { announce(`On a cluster the stage is changed by the command make stage-${to}.`); return; }
    const r = await call("POST", `${paths.suite}stage`, { stage: to });
    if (r.ok && r.body) { state.suite = r.body; store.changed("suite", r.body); }
    else announce(`The stage was not changed: ${reason(r)}`);
    if (!r.ok) { $("notice").hidden = false; $("notice").textContent = `The stage was not changed: ${reason(r)}`; }
  }
  store.on("suite", draw);
  draw();
  return { change };
}
