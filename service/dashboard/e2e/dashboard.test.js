import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before, describe, test } from "node:test";
import { launch, openPage } from "./browser.js";
import { startSuite } from "./suite.js";

const axeSource = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const text = (page, selector) => page.locator(selector).innerText();
const until = (page, selector, pattern, timeout = 30000) => page.waitForFunction(([s, p]) => new RegExp(p).test(document.querySelector(s)?.textContent || ""), [selector, pattern.source], { timeout });

async function axe(page) {
  await page.evaluate(axeSource);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  return violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.target.join(" ")).slice(0, 4).join(", ")}`);
}

describe("mission control", () => {
  let suite, browser;
  before(async () => {
    browser = await launch();
    suite = await startSuite({ stage: "open", timeScale: 14400 });
  }, { timeout: 60000 });
  after(async () => {
    if (browser) await browser.close();
    if (suite) suite.stop();
  });

  test("shows five Cells and eighteen services, and says that there is no mission yet", async () => {
    const { page, strange, close } = await openPage(browser, suite);
    await page.waitForFunction(() => document.querySelectorAll("#graph .node:not(.rogue)").length === 19, null, { timeout: 15000 });
    assert.equal(await page.locator("#graph .cell").count(), 5);
    assert.match(await text(page, "#met"), /no mission yet|idle/);
    // A pod's name stays in its box, whatever font the system has.
    assert.deepEqual(await page.evaluate(() => [...document.querySelectorAll("#graph .node")].map((n) => [n.querySelector("text"), n.querySelector("rect")])
      .filter(([label, box]) => label.getBBox().width > box.getBBox().width).map(([label]) => label.textContent)), []);
    assert.deepEqual(await axe(page), []);
    assert.deepEqual(strange, []);
    await close();
  });

  test("paints within 300 ms of the request and weighs less than 200 KB", async () => {
    const { page, close } = await openPage(browser, suite);
    await page.waitForLoadState("load");
    const { paint, bytes } = await page.evaluate(() => ({
      paint: performance.getEntriesByName("first-contentful-paint")[0]?.startTime,
      bytes: performance.getEntriesByType("resource").concat(performance.getEntriesByType("navigation")).filter((e) => /assets|flight-director-http\/$/.test(e.name)).reduce((sum, e) => sum + e.decodedBodySize, 0),
    }));
    console.log(`first contentful paint ${Math.round(paint)} ms, page ${Math.round(bytes / 1024)} KiB`);
    assert.ok(bytes > 10_000 && bytes < 200_000, `${bytes} bytes`);
    await close();
  });

  test("the four attacks succeed at open and are refused at zero-trust, with the layer that answered", async () => {
    const { page, strange, close } = await openPage(browser, suite);
    await page.waitForFunction(() => document.querySelectorAll("tr.story").length === 4 && /[1-9] of/.test(document.body.textContent), null, { timeout: 20000 });
    await page.keyboard.press("a");
    await page.waitForFunction(() => document.querySelectorAll("tr.story td:nth-child(2) .v-allowed").length === 4, null, { timeout: 60000 });
    await page.keyboard.press("Shift+Digit3");
    await until(page, "#layers", /stage zero-trust/);
    await page.waitForFunction(() => !document.querySelector("#attack-story").disabled);
    await page.keyboard.press("a");
    await page.waitForFunction(() => document.querySelectorAll("tr.story td:nth-child(4) .v-denied-l7").length === 4, null, { timeout: 60000 })
      .catch(async (e) => { throw new Error(`${e.message}: ${await text(page, "#view-adversary")}`); });
    await until(page, "#view-adversary .verdict", /Threat neutralised/);
    await page.locator("tr.story td:nth-child(4) button").first().click();
    await until(page, "#view-adversary .detail", /RBAC: access denied/);
    assert.deepEqual(await axe(page), []);
    assert.deepEqual(strange, []);
    await close();
  });

  test("switching the stage is one key and is said to a screen reader", async () => {
    const { page, close } = await openPage(browser, suite);
    await until(page, "#layers", /stage/);
    for (const [key, stage] of [["Shift+Digit1", "open"], ["Shift+Digit2", "mtls"], ["Shift+Digit3", "zero-trust"]]) {
      await page.keyboard.press(key);
      await until(page, "#announcer", new RegExp(`Stage ${stage} is in force`));
      assert.equal((await suite.status()).stage, stage);
    }
    await page.evaluate(async () => {
      const { announce } = await import(new URL("assets/dom.js", location.href));
      announce("One thing happened.");
      announce("Another happened with it.");
    });
    await until(page, "#announcer", /One thing happened\. Another happened with it\./);
    await close();
  });

  test("keyboard alone reaches every view, the tour and its end", async () => {
    const { page, close } = await openPage(browser, suite);
    await page.waitForFunction(() => document.querySelectorAll("#graph .node").length > 18);
    await page.keyboard.press("Digit2");
    assert.equal(await page.locator("#view-trace").isVisible(), true);
    await page.keyboard.press("Digit3");
    assert.equal(await page.locator("#start").isVisible(), true);
    await page.keyboard.press("t");
    await until(page, "#tour", /1\/9/);
    for (let step = 0; step < 9; step++) await page.keyboard.press("n");
    assert.equal(await page.locator("#tour").isVisible(), false);
    await close();
  });

  test("is usable on a phone and in light colours", async () => {
    const { page, close } = await openPage(browser, suite, { viewport: { width: 375, height: 780 }, colorScheme: "light" });
    await page.waitForFunction(() => document.querySelectorAll("#graph .node").length > 18);
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "nothing is wider than the screen");
    assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "light");
    assert.deepEqual(await axe(page), []);
    await close();
  });

  test("a killed service is named, and the mission goes on", async () => {
    const { page, close } = await openPage(browser, suite);
    await page.waitForFunction(() => document.querySelectorAll("#graph .node").length > 18);
    const service = (await suite.status()).pods.find((p) => p.component === "guidance-nav");
    process.kill(service.hostPid || service.pid, "SIGKILL");
    await until(page, "#notice", /guidance-nav/, 10000);
    await page.waitForFunction(() => !/guidance-nav/.test(document.querySelector("#notice").textContent), null, { timeout: 40000 });
    await close();
  });

  test("countdown to splashdown", { timeout: 240000 }, async () => {
    const { page, strange, close } = await openPage(browser, suite);
    await page.keyboard.press("Digit3");
    await page.locator("#start").click();
    await until(page, "#met", /T\+/, 90000);
    await until(page, "#figures", /goldstone|madrid|canberra/i, 60000);
    assert.deepEqual(await page.evaluate(() => [...document.querySelectorAll("#figures dt, #figures dd")].filter((f) => f.scrollWidth > f.clientWidth).map((f) => f.textContent)), [], "cut off");
    await until(page, "#phase", /Splashdown/, 120000).catch(async (e) => { throw new Error(`${e.message}: phase ${await text(page, "#phase")}, clock ${await text(page, "#met")}, notice ${await text(page, "#notice")}`); });
    assert.deepEqual(strange, []);
    await close();
  });

  test("says how old its data is when mission control is gone", async () => {
    const { page, close } = await openPage(browser, suite);
    await page.waitForFunction(() => document.querySelectorAll("#graph .node").length > 18);
    suite.stop();
    await until(page, "#notice", /does not answer/, 20000);
    await close();
  });
});
