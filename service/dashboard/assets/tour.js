// The guided tour: five minutes, one key. Each step says what to look at and does, on request, what the speaker would do.
import { $, h } from "./dom.js";

export function makeTour(acts) {
  const steps = [
    ["A mission, eighteen services, five Cells", "Every box is a service, every frame a Cell: a namespace of its own. They call each other only where a line is drawn. Nothing on this page is staged: each moving mark is a call that just happened.", null],
    ["Lift-off", "Launch control polls its Cell and asks Houston for go or no-go. Nobody touches anything after the start: go, lift-off, trans-lunar coast, flyby, return.", ["Start the countdown", acts.start]],
    ["Stage open: the perimeter only", "NetworkPolicies isolate the Cells. Inside a Cell everybody trusts everybody, and what travels is readable.", ["Go to stage open", () => acts.stage("open")]],
    ["An attacker inside", "A rogue pod runs in Orion's Cell. It tries to abort the mission, move the spacecraft, read the crew's vitals and send commands.", ["Launch the four attacks", acts.story]],
    ["Stage mtls: identity and encryption", "Every workload now has a cryptographic identity and every byte is encrypted. And yet: everything arrives on port 15008, so the perimeter between Cells is weaker than before. Encryption alone authorises nobody.", ["Go to stage mtls", () => acts.stage("mtls")]],
    ["The attacker again", "Encrypted, identified, and still let in. A rogue in another Cell gets through too, where the NetworkPolicy stopped it before.", ["Launch the four attacks", acts.story]],
    ["Stage zero-trust: authorization", "Each Cell's waypoint now decides every request by identity, method and path. Known is allowed; unknown is denied; there is no list of enemies.", ["Go to stage zero-trust", () => acts.stage("zero-trust")]],
    ["Threat neutralised", "The same attacks. The mark stops at the layer that refused it; the panel names policy and evidence. The mission did not notice.", ["Launch the four attacks", acts.story]],
    ["What it does not stop", "Egress, replay, flooding within a rule, whoever may create pods in a Cell: the campaign tries those too and says so. Open the matrix and read the limits.", ["Launch the whole campaign", acts.all]],
  ];
  const box = $("tour");
  let at = 0;
  const draw = () => {
    const [title, text, action] = steps[at];
    box.replaceChildren(
      h("h2", { id: "tour-title" }, `${at + 1}/${steps.length} ${title}`), h("p", {}, text),
      h("div", { class: "tools" },
        action ? h("button", { type: "button", class: "main", onclick: action[1] }, action[0], " ", h("kbd", {}, "Enter")) : null,
        h("button", { type: "button", disabled: at === 0, onclick: () => go(-1) }, "Back ", h("kbd", {}, "b")),
        h("button", { type: "button", onclick: () => go(1) }, at === steps.length - 1 ? "End " : "Next ", h("kbd", {}, "n")),
        h("button", { type: "button", onclick: () => box.close() }, "Close ", h("kbd", {}, "Esc"))));
    const first = box.querySelector("button.main") || box.querySelector("button:not(:disabled)");
    if (first) first.focus();
  };
  const go = (by) => { at += by; if (at >= steps.length) { at = 0; box.close(); } else draw(); };
  return {
    toggle() { if (box.open) box.close(); else { draw(); box.show(); draw(); } },
    key(k) { if (!box.open) return false; if (k === "n" || k === "ArrowRight" || k === "PageDown") go(1); else if ((k === "b" || k === "ArrowLeft" || k === "PageUp") && at > 0) go(-1); else if (k === "Escape") box.close(); else return false; return true; },
  };
}
