// The attack is the picture: at every stage what is drawn is what the decision log and the judge say, no more and no less.
import assert from "node:assert/strict";
import { request } from "node:http";
import { after, afterEach, before, describe, test } from "node:test";
import { here, launch, openPage, says, until } from "./browser.js";
import { startSuite } from "./suite.js";

// drawn records in the page what the lane, the graph's stroke and the moving marks show, as they show it.
const drawn = (page) => page.evaluate(() => {
  globalThis.strokes = [];
  const lane = document.querySelector("#lane"), graph = document.querySelector("#graph");
  const look = () => {
    const { run, is, verdict, layer } = lane.dataset;
    if (!run) return;
    const gates = [...lane.querySelectorAll(".gate")].map((g) => g.dataset.is);
    const stroke = graph.querySelector(`.beam[data-run="${run}"]`);
    globalThis.strokes.push({ run, is, verdict, layer: Number(layer || 0), gates, graph: stroke ? stroke.getAttribute("class").split(" ")[1] : null });
  };
  new MutationObserver(look).observe(lane, { attributes: true, attributeFilter: ["data-run", "data-is", "data-verdict"] });
  globalThis.calls = new Set();
  new MutationObserver((all) => { for (const m of all) globalThis.calls.add(m.target.dataset.call); }).observe(graph.querySelector(".moving"), { subtree: true, attributes: true, attributeFilter: ["data-call"], childList: true });
});

describe("the beam", () => {
  let suite, browser;
  before(async () => {
    browser = await launch();
    suite = await startSuite({ stage: "open", timeScale: 1440 });
    await suite.flight();
  }, { timeout: 60000 });
  afterEach(async () => { for (const context of browser.contexts()) await context.close(); });
  after(async () => {
    if (browser) await browser.close();
    if (suite) suite.stop();
  });

  const expected = { "open": "breached", "mtls": "breached", "zero-trust": "stopped" };
  for (const stage of ["open", "mtls", "zero-trust"]) {
    test(`at ${stage} each of the story's attacks is drawn as the log decided it`, { timeout: 60000 }, async () => {
      await suite.stage(stage);
      const { page, strange } = await openPage(browser, suite);
      await here(page);
      await drawn(page);
      const results = [];
      for (const id of ["vitals", "maneuver", "uplink", "other-cell"]) {
        const r = await suite.control("POST", `attacks/${id}`, {});
        await until(page, `${id} drawn`, (run) => globalThis.strokes.some((s) => s.run === run && s.verdict), r.run);
        results.push(r);
      }
      const strokes = await page.evaluate(() => globalThis.strokes);
      const decisions = await suite.decisions();
      for (const r of results) {
        assert.equal(r.stage, stage);
        assert.ok(strokes.some((s) => s.run === r.run && s.is === "flying"), `${r.id} flies before it is decided`);
        const end = strokes.findLast((s) => s.run === r.run);
        assert.deepEqual([end.is, end.verdict, end.layer], [r.verdict === "allowed" ? "breached" : "stopped", r.verdict, r.layer || 0], r.id);
        if (r.verdict === "allowed") assert.ok(end.gates.every((g) => g === "passed" || g === "off"), `${r.id}: ${end.gates}`);
        else {
          assert.deepEqual(end.gates.map((g, i) => g === "answered" && i + 1).filter(Boolean), [r.layer], `${r.id}: ${end.gates}`);
          const record = decisions.find((d) => d.stage === stage && d.verdict === r.verdict && (d.policy || "") === (r.decision.policy || "") && (d.rule || "") === (r.decision.rule || ""));
          assert.ok(record, `${r.id}: the log has the decision that is drawn: ${JSON.stringify(r.decision)}`);
        }
        if (r.id !== "other-cell") assert.equal(end.is, expected[stage], r.id);
      }
      assert.equal(await page.locator("#graph .beam").evaluate((b) => b.childElementCount > 0), true, "the graph has the stroke");
      assert.deepEqual(strange, []);
    });
  }

  for (const stage of ["open", "mtls", "zero-trust"]) {
    test(`at ${stage} every moving mark is a call of the log, and the mission is alive`, { timeout: 60000 }, async () => {
      await suite.stage(stage);
      const { page } = await openPage(browser, suite);
      await here(page);
      const heard = new Set();
      const pod = (p) => (p.component === "ingress" ? "outside/ingress" : `${p.cell || p.namespace}/${p.component}`);
      const listening = new Promise((resolve, reject) => {
        const r = request({ socketPath: suite.socket, path: "/_artemis/events?since=0", headers: { host: "localhost" } }, (answer) => {
          let rest = "";
          answer.setEncoding("utf8").on("data", (d) => {
            const blocks = (rest + d).split("\n\n");
            rest = blocks.pop();
            for (const b of blocks) {
              const kind = /^event: (.+)$/m.exec(b)?.[1], data = /^data: (.+)$/m.exec(b)?.[1];
              if (kind === "decision") { const x = JSON.parse(data); heard.add(`${pod(x.from)}>${pod(x.to)}`); }
              if (kind === "calls") for (const c of JSON.parse(data)) heard.add(`${c.from}>${c.to}`);
            }
          });
          resolve(() => r.destroy());
        });
        r.on("error", (e) => { if (e.code !== "ECONNRESET") reject(e); }).end();
      });
      const stop = await listening;
      await drawn(page);
      await until(page, "the mission's calls", () => globalThis.calls.size >= 14);
      const calls = await page.evaluate(() => [...globalThis.calls].filter(Boolean));
      // What the page heard a moment before we did was drawn as well.
      for (const x of await suite.decisions()) heard.add(`${pod(x.from)}>${pod(x.to)}`);
      for (const until = Date.now() + 5000; Date.now() < until && !calls.every((c) => heard.has(c));) await new Promise((r) => setTimeout(r, 100));
      stop();
      assert.deepEqual(calls.filter((c) => !heard.has(c)), []);
    });
  }

  test("the whole campaign is drawn, each attack of it, and page and command line say the same", { timeout: 120000 }, async () => {
    await suite.stage("zero-trust");
    const { page } = await openPage(browser, suite);
    await here(page);
    await drawn(page);
    await page.getByRole("button", { name: "Whole campaign" }).click();
    const { attacks } = await suite.control("GET", "attacks");
    await until(page, "all cells", (n) => document.querySelectorAll('#map [data-stage="zero-trust"][data-verdict]').length === n, attacks.length, 110000);
    const { results } = await suite.control("GET", "attacks");
    const strokes = await page.evaluate(() => globalThis.strokes);
    const runs = new Set(strokes.filter((s) => s.verdict).map((s) => s.run));
    for (const a of attacks) {
      const r = results.findLast((x) => x.id === a.id && x.stage === "zero-trust");
      assert.ok(runs.has(r.run), `${a.id} is drawn`);
      assert.equal(await page.locator(`#map [data-attack="${a.id}"][data-stage="zero-trust"]`).getAttribute("data-verdict"), r.verdict, a.id);
      assert.equal(r.differs || "", "", a.id);
    }
    const { stdout } = await suite.artemis("attack", "vitals", "maneuver", "--stage", "zero-trust");
    assert.match(stdout, /2 attacks played, 0 not as expected/);
    const told = (await suite.control("GET", "attacks")).results.at(-1);
    await until(page, "what the command line played", (run) => document.querySelector("#lane").dataset.run === run, told.run);
    await says(page, "#lane .said", /is not in allowFrom/);
  });
});
