// The guided tour, docked below the picture. Each step opens the view that it speaks of, points at its object, and does on request what
// a speaker would do. It can be told again: the first step begins a new flight.
import { $, h, refill, announce } from "./dom.js";

export function makeTour(store, act, open) {
  const attack = (id) => () => { const a = store.state.attacks.find((x) => x.id === id); if (a) return act.attack(a); };
  const again = () => { const r = store.state.latest?.result; return r ? act.neutralise(r) : null; };
  const flies = () => store.state.status?.liftOff && !(store.state.status.maneuvers || []).some((m) => m.type === "abort") && !["splashdown", "lost"].includes(store.state.status.phase);
  const steps = [
    { title: "A mission, eighteen services, five Cells", view: "attacks", at: "#graph", says: "Every box is a service, every frame a Cell: a namespace of its own. They call each other only where a line is drawn. Nothing here is staged: each moving mark is a call that just happened.", button: () => (flies() ? null : ["New flight", store.state.status?.liftOff ? act.newFlight : act.start]) },
    { title: "Stage open: the wall alone", at: "#lane", says: "NetworkPolicies isolate the Cells. Inside a Cell everybody trusts everybody.", button: () => ["Stage open", () => act.stage("open")] },
    { title: "What travels can be read", view: "wire", at: "#view-wire", says: "A listener on the network reads the crew's heart rates, letter by letter.", button: () => ["Listen", () => $("listen").click()] },
    { title: "Somebody got in", view: "attacks", at: "#mission", says: "A rogue pod in Orion's Cell asks life-support for the crew's vitals. Follow the red stroke: the wall stands between Cells, not inside one. The loot lies beside the mission.", button: () => ["Steal the vitals", attack("vitals")] },
    { title: "It flies the spacecraft", view: "attacks", at: "#orbit", says: "The same pod tells guidance-nav to turn Orion on its back, and is obeyed.", button: () => ["Hijack navigation", attack("maneuver")] },
    { title: "Stage mtls: everybody has a name", view: "wire", at: "#lane", says: "Every workload has an identity, every byte is encrypted. Listen again: ciphertext.", button: () => ["Stage mtls", () => act.stage("mtls").then((ok) => ok && $("listen").click())] },
    { title: "Encrypted, identified, and let in", view: "attacks", at: "#lane", says: "Houston's rogue reaches across Cells: everything arrives on port 15008 now, and the wall is gone. Encryption alone authorises nobody.", button: () => ["Reach across Cells", attack("other-cell")] },
    { title: "Neutralise", view: "attacks", at: "#banner", says: "Raise the layer that answers, and play the same attack again: the waypoint knows who calls, and that name is not in allowFrom.", button: () => ["Neutralise", again] },
    { title: "The story's four at zero-trust", view: "attacks", at: "#stages", says: "Abort, hijack, steal, fake: each stopped by the waypoint, each by a named policy. Orion flies on. Compare the three scores.", button: () => ["Play the four", async () => { if (await act.stage("zero-trust")) await act.story(); }] },
    { title: "Who can call this?", view: "attacks", at: "#graph", says: "Choose a service in the picture: the whole list of who can call it, and nobody else.", button: () => ["guidance-nav", () => document.querySelector('[data-id="orion/guidance-nav"]')?.click()] },
    { title: "The whole campaign, and its limits", view: "attacks", at: "#map", says: "Ways around the waypoint, stolen names, forged headers. The last group is what these layers do not stop: egress, replay, whoever may create pods. It says so.", button: () => ["Play the whole campaign", act.all] },
    { title: "And without all this: abort", view: "attacks", at: "#banner", says: "Last, at stage open: one order from nobody ends the mission. This flight is over; a new one begins the tour again.", button: () => ["Stage open, then abort", async () => { if (await act.stage("open")) await attack("abort")(); }] },
  ];
  const box = $("tour");
  let step = 0, pointed = null;

  function draw() {
    const s = steps[step];
    if (s.view) open(s.view, false);
    if (pointed) pointed.classList.remove("pointed-at");
    pointed = document.querySelector(s.at);
    if (pointed) pointed.classList.add("pointed-at");
    const button = s.button && s.button();
    refill(box,
      h("p", { class: "step" }, h("b", {}, `${step + 1}/${steps.length} ${s.title}`), h("span", {}, s.says)),
      h("div", { class: "tools" },
        button ? h("button", { type: "button", class: "main", id: "tour-do", onclick: button[1] }, button[0], " ", h("kbd", {}, "Enter")) : null,
        h("button", { type: "button", disabled: step === 0, onclick: () => go(-1) }, "Back ", h("kbd", {}, "b")),
        h("button", { type: "button", onclick: () => go(1) }, step === steps.length - 1 ? "End " : "Next ", h("kbd", {}, "n")),
        h("button", { type: "button", onclick: close }, "Close ", h("kbd", {}, "Esc"))));
    ($("tour-do") || box.querySelector("button:not(:disabled)")).focus({ preventScroll: true });
    announce(`${step + 1} of ${steps.length}: ${s.title}. ${s.says}`);
  }
  function shows(on) {
    box.hidden = !on;
    document.body.classList.toggle("touring", on);
    $("tour-button").setAttribute("aria-pressed", String(on));
    if (!on && pointed) { pointed.classList.remove("pointed-at"); pointed = null; }
    store.changed("layout");
  }
  function close() { shows(false); step = 0; }
  function go(by) { step += by; if (step >= steps.length) close(); else { step = Math.max(step, 0); draw(); } }
  return {
    length: steps.length,
    toggle() { if (!box.hidden) close(); else { shows(true); draw(); } },
    key(e) {
      if (box.hidden) return false;
      const k = e.key;
      if (k === "n" || k === "PageDown") go(1);
      else if (k === "b" || k === "PageUp") go(-1);
      else if (k === "Escape") close();
      else if (k === "Enter" && !/^(BUTTON|A|SUMMARY)$/.test(e.target.tagName)) $("tour-do")?.click(); // a button in focus does it itself
      else return false;
      return true;
    },
  };
}
