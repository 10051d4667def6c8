// What a listener on the node's network sees of life-support: heart rates in clear at stage open, ciphertext from mtls on. The bytes are
// those of the wire; the last capture of each stage stays for comparison.
import { $, h, refill, text } from "./dom.js";
import { call, reason, pathsOf } from "./net.js";
import { stages } from "./verdicts.js";
import { stageOf } from "./store.js";

const paths = pathsOf(location.href);
const pod = "orion/life-support";

export function makeWire(store, act) {
  const listen = h("button", { type: "button", class: "main", id: "listen", onclick: hear }, "Listen for a moment");
  const said = h("p", { role: "status" });
  const captures = Object.fromEntries(stages.map((g) => [g, h("section", { "class": "capture", "aria-label": `heard at stage ${g}` }, h("h3", {}, g), h("p", {}, h("small", {}, "not listened to yet")))]));
  $("view-wire").append(h("p", {}, `A listener on the network between the pods of ${pod}.`), h("div", { class: "tools" }, listen), said, h("div", { class: "captures" }, Object.values(captures)));

  async function hear() {
    listen.disabled = true;
    text(said, "Listening …");
    const r = await call("POST", `${paths.suite}listen`, { pod }, 15000);
    listen.disabled = false;
    if (!r.ok || !r.body) { text(said, `Nothing was heard: ${reason(r)}`); return; }
    const { pieces, stage, source } = r.body;
    const plain = pieces.filter((p) => p.kind === "plaintext");
    const hearts = [...plain.map((p) => p.text).join("\n").matchAll(/"name":"([^"]{1,40})"[^{}]*?"heartRateBpm":([\d.]+)/g)];
    const line = hearts.length ? `Heart rates, read from the wire: ${[...new Map(hearts.map(([, n, v]) => [n, Math.round(v)]))].map(([n, v]) => `${n.split(" ").pop()} ${v}`).join(" · ")}` : pieces.length ? `${pieces.length} pieces, ${plain.length} readable.` : "Nothing went by: does the mission fly?";
    text(said, `Stage ${stage}: ${line}`);
    const best = plain.filter((p) => /heartRate/.test(p.text)).concat(plain.filter((p) => !/heartRate/.test(p.text)), pieces.filter((p) => p.kind !== "plaintext" && /application/.test(p.kind)), pieces).filter((p, i, all) => all.indexOf(p) === i).slice(0, 5);
    refill(captures[stage], h("h3", {}, `${stage}: ${plain.length ? "readable" : pieces.length ? "ciphertext" : "silence"}`), h("p", { class: `verdict w-${plain.length ? "attacker" : "mission"}` }, line),
      best.map((p) => h("div", { class: "piece" }, h("small", {}, `${p.from} → ${p.to}, ${p.bytes} bytes, ${p.kind}`), h("pre", {}, p.kind === "plaintext" ? parts(p.text) : p.text.replace(/(..)/g, "$1 ")))),
      h("p", {}, h("small", {}, source)));
  }
  // parts marks what a listener wants.
  const parts = (words) => (words.includes("\r\n\r\n") ? words.slice(words.indexOf("\r\n\r\n") + 4) || words.split("\r\n")[0] : words).split(/("heartRateBpm":[\d.]+)/).map((t) => (/^"heart/.test(t) ? h("mark", {}, t) : t));
  store.on("suite", (state) => {
    listen.hidden = state.mode !== "local";
    if (state.mode === "cluster") text(said, "No launcher listens on a cluster: capture at the node, such as with tcpdump in kubectl debug node/NODE.");
    if (state.mode === "viewer") text(said, act.why());
    for (const g of stages) captures[g].classList.toggle("now", stageOf(state) === g);
  });
  return { hear };
}
