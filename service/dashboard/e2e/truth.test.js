// What the page says is so: through reloads, switches of the stage, restarts of the suite, many tabs, and to the end of a flight.
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { here, launch, newContext, openPage, says, until } from "./browser.js";
import { startSuite } from "./suite.js";

const cell = (id, stage) => `#map [data-attack="${id}"][data-stage="${stage}"]`;
const wins = (page, id, stage) => page.locator(cell(id, stage)).getAttribute("data-wins");
const flying = (page) => until(page, "a flight", () => document.body.dataset.flight === "flight", null, 60000);
const noJunk = async (page) => assert.doesNotMatch(await page.evaluate(() => document.body.innerText), /\b(null|undefined|NaN|\[object)\b/);

describe("what mission control says is so", () => {
  let suite, browser;
  before(async () => {
    browser = await launch();
    suite = await startSuite({ stage: "open", timeScale: 9000 });
  }, { timeout: 60000 });
  afterEach(async () => { for (const context of browser.contexts()) await context.close(); });
  after(async () => {
    if (browser) await browser.close();
    if (suite) suite.stop();
  });

  test("a result stays under the stage at which it was decided, through a switch and a reload", async () => {
    await suite.stage("open");
    const { page, strange } = await openPage(browser, suite);
    await here(page);
    await suite.control("POST", "attacks/vitals", {});
    await until(page, "the breach", (s) => document.querySelector(s).dataset.wins === "attacker", cell("vitals", "open"));
    await suite.stage("zero-trust");
    await page.reload();
    await here(page);
    assert.deepEqual([await wins(page, "vitals", "open"), await wins(page, "vitals", "zero-trust")], ["attacker", "none"]);
    assert.deepEqual(strange, []);
  });

  test("a switch while an attack is under way leaves no false verdict in any column", async () => {
    const { page } = await openPage(browser, suite);
    await here(page);
    for (const [stage, next] of [["open", "zero-trust"], ["zero-trust", "open"]]) {
      for (const pause of [0, 60, 150, 400]) {
        await suite.stage(stage);
        const played = suite.control("POST", "attacks/maneuver", {});
        await page.waitForTimeout(pause); // where in the attack the switch falls is what is tried
        await suite.stage(next);
        const result = await played;
        assert.ok(result.verdict !== "allowed" || result.stage !== "zero-trust", JSON.stringify(result));
        await until(page, "the result", (run) => document.querySelector("#lane").dataset.run === run && document.querySelector("#lane").dataset.verdict, result.run);
      }
    }
    const { results } = await suite.control("GET", "attacks");
    const last = (stage) => results.findLast((r) => r.id === "maneuver" && r.stage === stage)?.verdict || null;
    for (const stage of ["open", "mtls", "zero-trust"]) assert.equal(await page.locator(cell("maneuver", stage)).getAttribute("data-verdict"), last(stage), stage);
    assert.notEqual(await wins(page, "maneuver", "zero-trust"), "attacker");
  });

  test("the evidence names policy, rule and controls, in the words of the judge, and never says null", async () => {
    await suite.stage("zero-trust");
    const { page } = await openPage(browser, suite);
    await here(page);
    const result = await suite.control("POST", "attacks/vitals", {});
    await page.locator(cell("vitals", "zero-trust")).click();
    await says(page, "#evidence", /STOPPED BY 3/);
    const said = await page.locator("#evidence").innerText();
    assert.equal(result.verdict, "denied-l7");
    for (const words of [result.reason, result.decision.policy, result.control.before.detail, result.control.after.detail]) assert.ok(said.includes(words), `${words} in ${said}`);
    await noJunk(page);
    for (const tab of [2, 3, 4, 5, 1]) { await page.keyboard.press(`Digit${tab}`); await noJunk(page); }
  });

  test("neutralise raises the layer that answers, plays the same attack again and shows the difference", async () => {
    await suite.stage("open");
    const { page } = await openPage(browser, suite);
    await here(page);
    await suite.control("POST", "attacks/vitals", {});
    await says(page, "#banner", /CREW DATA STOLEN by orion\/adversary/);
    await page.getByRole("button", { name: "Neutralise" }).first().click();
    await says(page, "#banner", /STOPPED BY 3/);
    assert.equal((await suite.status()).stage, "zero-trust");
    await says(page, "#evidence .difference", /open: BREACHED.*zero-trust: STOPPED BY 3/);
  });

  test("a word reaches the crew", async () => {
    const { page } = await openPage(browser, suite);
    await here(page);
    await page.keyboard.press("Digit3");
    await page.getByLabel("message").fill("Integrity, this is a test of the loop.");
    await page.getByRole("button", { name: "Say it" }).click();
    await says(page, "#view-operator form:has([name=message]) .came", /voice: acknowledged \(200/);
  });

  test("three tabs of one browser live on one feed, and each can act", async () => {
    const context = await newContext(browser);
    const tabs = [];
    for (let i = 0; i < 3; i++) tabs.push(await openPage(browser, suite, { context }));
    for (const { page } of tabs) await here(page);
    for (const { page } of tabs) assert.equal(await page.evaluate(async () => (await fetch("/flight-director-http/mission/status")).status), 200);
    await tabs[2].page.keyboard.press("Shift+Digit1");
    for (const { page } of tabs) await until(page, "the stage in every tab", () => document.querySelector('#stages button[aria-pressed="true"] span')?.textContent === "open");
    await tabs[0].page.close();
    await tabs[1].page.keyboard.press("Shift+Digit2");
    await until(tabs[2].page, "the other tab to go on", () => document.querySelector('#stages button[aria-pressed="true"] span')?.textContent === "mtls");
  });

  test("without a shared worker a hidden tab gives its streams back", async () => {
    const context = await newContext(browser);
    await context.addInitScript(() => {
      delete globalThis.SharedWorker;
      const Real = EventSource;
      globalThis.sources = [];
      globalThis.EventSource = class extends Real { constructor(...a) { super(...a); globalThis.sources.push(this); } };
    });
    const { page } = await openPage(browser, suite, { context });
    await here(page);
    const open = (n) => until(page, `${n} streams`, (count) => globalThis.sources.filter((s) => s.readyState < 2).length === count, n);
    await open(2);
    const hide = (hidden) => page.evaluate((h) => { Object.defineProperty(document, "hidden", { value: h, configurable: true }); document.dispatchEvent(new Event("visibilitychange")); }, hidden);
    await hide(true);
    await open(0);
    await hide(false);
    await open(2);
  });

  test("a press on a button is never lost, and what is read stays", async () => {
    await suite.stage("zero-trust");
    const { page } = await openPage(browser, suite);
    await here(page);
    await page.keyboard.press("Digit2");
    await until(page, "calls", () => document.querySelectorAll(".calls tbody tr").length > 20);
    await page.getByRole("button", { name: "Pause" }).click();
    for (let i = 0; i < 10; i++) {
      await page.locator(".calls tbody button").nth(i).click();
      const button = await page.locator("#call button").boundingBox();
      await page.mouse.move(button.x + 5, button.y + 5);
      await page.mouse.down();
      await page.waitForTimeout(90); // as long as a finger rests
      await page.mouse.up();
      assert.equal(await page.locator("#call").innerText(), "", `press ${i}`);
    }
    await page.locator('[data-id="orion/guidance-nav"]').click();
    await says(page, "#view-service .who", /comms-system/);
    await page.evaluate(() => { globalThis.read = document.querySelector("#view-service .who li"); getSelection().selectAllChildren(globalThis.read); });
    const before = (await suite.control("GET", "decisions?since=0&limit=1000")).next;
    await until(page, "more decisions", () => document.querySelectorAll("#view-service ol li").length > 3);
    for (let seen = before; seen < before + 60;) seen = (await suite.control("GET", `decisions?since=${seen}&limit=1000`)).next;
    assert.equal(await page.evaluate(() => globalThis.read.isConnected && getSelection().toString().length > 3), true);
  });

  test("who can call this is the whole answer, and nobody else", async () => {
    const { page } = await openPage(browser, suite);
    await here(page);
    await page.locator('[data-id="orion/guidance-nav"]').click();
    await says(page, "#view-service .who", /nobody else/);
    const answer = await suite.control("GET", "who-can?to=orion/guidance-nav");
    assert.deepEqual(await page.locator("#view-service .who li > b").allInnerTexts(), answer.callers.map((c) => c.caller));
    assert.deepEqual((await page.locator("#graph .node.caller").evaluateAll((all) => all.map((n) => n.dataset.id))).sort(), answer.callers.map((c) => c.caller).filter((c) => /^orion\/(comms-system|crew-interface)$/.test(c)).sort());
  });

  test("a killed service is named, and the mission goes on", async () => {
    const { page } = await openPage(browser, suite);
    await here(page);
    const service = (await suite.status()).pods.find((p) => p.component === "guidance-nav");
    process.kill(service.hostPid || service.pid, "SIGKILL");
    await says(page, "#notice", /guidance-nav/, 10000);
    await until(page, "the service to be back", () => !/Not ready[^.]*guidance-nav/.test(document.querySelector("#notice").textContent), null, 40000);
  });

  test("from the count with its polls, through an abort by an attacker, to a new flight without a trace of the former", { timeout: 120000 }, async () => {
    await suite.stage("open");
    const { page } = await openPage(browser, suite);
    await here(page);
    await until(page, "the pad", () => document.body.dataset.flight === "idle");
    await page.getByRole("button", { name: "Start the countdown" }).click();
    await until(page, "the poll board", () => document.querySelectorAll("#polls:not([hidden]) li").length >= 4);
    await says(page, "#met", /T−/);
    await until(page, "Houston on the board", () => /capcom/.test(document.querySelector("#polls").textContent), null, 20000);
    await flying(page);
    await page.keyboard.press("a");
    await says(page, "#banner-word", /MISSION ABORTED by houston\/adversary/, 60000);
    assert.equal(await page.locator("#banner").getAttribute("data-wins"), "attacker");
    // What ends the flight is played last.
    assert.equal((await suite.control("GET", "attacks")).results.at(-1).id, "abort");
    await until(page, "the craft to say so", () => document.body.dataset.flight === "aborted");
    await until(page, "the loot", () => document.querySelectorAll("#loot:not([hidden]) .card").length > 0);
    await until(page, "the page to be done", () => !document.querySelector("#attack-story").disabled);
    await page.reload();
    await here(page);
    await says(page, "#banner-word", /MISSION ABORTED by houston\/adversary/);
    await page.keyboard.press("f");
    await until(page, "another count", () => document.body.dataset.flight === "count", null, 40000);
    assert.equal(await page.locator("#loot").isVisible(), false);
    assert.deepEqual(await page.locator("#figures div:nth-child(-n+3) dd:not(.curve)").allInnerTexts(), ["–", "–", "–"]);
    await flying(page);
    assert.equal(await page.locator("#loot").isVisible(), false);
    assert.equal(await page.locator("#banner").getAttribute("data-wins"), "none");
  });

  test("a good splashdown is home, not a loss of signal", { timeout: 200000 }, async () => {
    await suite.stage("zero-trust");
    const { page } = await openPage(browser, suite);
    await until(page, "splashdown", () => document.body.dataset.flight === "home", null, 180000);
    await says(page, "#banner", /SPLASHDOWN/);
    assert.equal(await page.locator("#met").innerText(), "home");
    // Long enough for the last frame to be old.
    await until(page, "the last frame to be old", () => fetch("/flight-director-http/mission/status").then((r) => r.json()).then((m) => m.contact.state === "lost"));
    assert.doesNotMatch(await page.locator("#notice").innerText(), /signal/i);
    assert.equal(await page.locator("#banner").getAttribute("data-wins"), "none");
    assert.match(await page.locator("#mission-age").innerText(), /last figures/);
  });

  test("a page that stays open through down and up sees the new suite, alive and without a word of the old", { timeout: 120000 }, async () => {
    await suite.stage("zero-trust");
    const { page } = await openPage(browser, suite);
    await here(page);
    await suite.control("POST", "attacks/vitals", {});
    await until(page, "a result", (s) => document.querySelector(s).dataset.wins !== "none", cell("vitals", "zero-trust"));
    await suite.down();
    await says(page, "#notice", /does not answer/, 20000);
    await until(page, "figures that are not those of now", () => document.body.dataset.current === "false", null, 10000);
    await suite.up();
    await until(page, "the new suite", (s) => document.querySelector(s).dataset.wins === "none" && document.querySelector("#notice").textContent === "", cell("vitals", "zero-trust"), 30000);
    await here(page);
    await until(page, "the pad", () => document.body.dataset.flight === "idle");
    await suite.stage("zero-trust");
    await until(page, "calls that are drawn", () => document.querySelector("#graph .moving").getAnimations({ subtree: true }).length > 0);
    await suite.control("POST", "attacks/vitals", {});
    await says(page, "#lane .said", /STOPPED BY 3/);
  });
});
