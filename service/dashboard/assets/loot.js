// What the attacker carried away, or did, as a card beside the mission: it stays until another flight or another breach.
import { $, h, refill } from "./dom.js";
import { consequence, breached } from "./verdicts.js";
import { ofThisFlight } from "./store.js";

export function makeLoot(store) {
  let shown = "";
  store.on(["latest", "results", "status"], (state) => {
    const breaches = Object.values(state.results).filter((r) => breached(r) && ["vitals", "uplink", "maneuver"].includes(r.id) && ofThisFlight(state, r.at)).sort((a, b) => (a.at < b.at ? 1 : -1));
    const cards = ["vitals", "uplink", "maneuver"].map((id) => breaches.find((r) => r.id === id)).filter(Boolean);
    const moment = cards.map((r) => r.run).join();
    if (moment === shown) return;
    shown = moment;
    $("loot").hidden = !cards.length;
    refill($("loot"), cards.map((r) => {
      const c = consequence(r, state.attacks.find((a) => a.id === r.id), state.attackers);
      return h("div", { class: "card" }, h("b", {}, `☠ ${c.short}`), " ", c.lines[0]);
    }));
  });
}
