// Mission control on a cluster: no launcher answers, the attacker's console plays and judges, and the stage is what it was told.
import assert from "node:assert/strict";
import { createServer, request } from "node:http";
import { after, before, describe, test } from "node:test";
import { here, launch, openPage, says, until } from "./browser.js";
import { startSuite } from "./suite.js";

// asCluster serves a suite's page, services and console under another name, and nothing of its launcher: /_artemis/ is not there.
async function asCluster(suite) {
  const cookie = `artemis-${suite.port}=${new URL(suite.url).searchParams.get("token")}`;
  const server = createServer((req, res) => {
    if (req.url.startsWith("/_artemis/")) { res.writeHead(404).end(); return; }
    const headers = Object.fromEntries(Object.entries(req.headers).filter(([name]) => !/^(sec-|origin$|referer$)/.test(name)));
    const out = request({ host: "127.0.0.1", port: suite.port, method: req.method, path: req.url, headers: { ...headers, host: new URL(suite.base).host, cookie } }, (answer) => { res.writeHead(answer.statusCode, answer.headers); answer.pipe(res); });
    out.on("error", () => res.destroy());
    res.on("close", () => out.destroy());
    req.pipe(out);
  });
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  const base = `http://cluster.localhost:${server.address().port}`;
  const say = async (stage) => { const answer = await fetch(`http://127.0.0.1:${server.address().port}/adversary-console-http/stage`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ stage }) }); assert.equal(answer.status, 200); };
  return { base, url: `${base}/flight-director-http/`, say, stop() { server.closeAllConnections(); server.close(); } };
}

describe("mission control on a cluster", () => {
  let suite, browser, cluster;
  before(async () => {
    browser = await launch();
    suite = await startSuite({ stage: "open", timeScale: 1440 });
    cluster = await asCluster(suite);
  }, { timeout: 60000 });
  after(async () => {
    if (browser) await browser.close();
    if (cluster) cluster.stop();
    if (suite) suite.stop();
  });

  test("results are in no column until somebody says the stage, and then under it, judged with live controls", { timeout: 180000 }, async () => {
    await suite.flight();
    const { page, strange } = await openPage(browser, cluster);
    await here(page);
    const story = () => page.evaluate(() => Object.fromEntries(["open", "mtls", "zero-trust"].map((s) => [s, [...document.querySelectorAll(`#map .k-story [data-stage="${s}"]`)].map((c) => c.dataset.wins).join()])));
    const none = "none,none,none,none";
    const playIt = async (title, word) => { // one attack, by its cell of the map
      await page.locator(`#map [data-attack="${title}"][data-stage="open"]`).click();
      await page.locator("#view-attacks .evidence").getByRole("button", { name: "Play" }).click();
      await says(page, "#lane .said", word);
    };
    await playIt("vitals", /BREACHED/);
    assert.deepEqual(await story(), { "open": none, "mtls": none, "zero-trust": none });
    // A person says it in the page; the page says how a cluster is switched.
    await page.keyboard.press("Shift+Digit1");
    await says(page, "#banner", /make stage-open/);
    await says(page, '#stages [aria-pressed="true"]', /open/);
    await page.keyboard.press("a");
    await until(page, "the story at open", () => document.querySelectorAll('#map .k-story [data-stage="open"][data-wins="attacker"]').length === 4);
    await says(page, "#stages", /4\/4/);
    // The script that switches the cluster says it to the console.
    await cluster.say("");
    await suite.stage("zero-trust");
    await cluster.say("zero-trust");
    await says(page, '#stages [aria-pressed="true"]', /zero-trust/);
    await page.keyboard.press("a");
    await until(page, "the story at zero-trust", () => document.querySelectorAll('#map .k-story [data-stage="zero-trust"][data-wins="mission"]').length === 4);
    assert.deepEqual(await story(), { "open": "attacker,attacker,attacker,attacker", "mtls": none, "zero-trust": "mission,mission,mission,mission" });
    await says(page, "#view-attacks .evidence", /control before.*answered/s);
    // By a reset connection alone nobody knows a layer: with the controls it is a denial, marked as inferred.
    await playIt("pod-ip", /STOPPED BY 2/);
    await page.keyboard.press("Digit5");
    await says(page, "#view-wire", /cluster/);
    assert.equal(await page.getByRole("button", { name: "Listen for a moment" }).count(), 0);
    assert.deepEqual(strange, []);
  });
});
