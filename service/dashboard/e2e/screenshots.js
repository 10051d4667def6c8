// Writes the pictures of the README: docs/images/*.png, from a running mission, at a projector's 1280x720.
import { mkdirSync } from "node:fs";
import { launch, openPage } from "./browser.js";
import { startSuite } from "./suite.js";

const images = new URL("../../../docs/images/", import.meta.url).pathname;
mkdirSync(images, { recursive: true });
const browser = await launch();
const suite = await startSuite({ stage: "open", timeScale: 14400 });
try {
  const { page } = await openPage(browser, suite, { colorScheme: "dark" });
  await page.keyboard.press("Digit3");
  await page.locator("#start").click();
  await page.waitForFunction(() => /T\+/.test(document.querySelector("#met").textContent), null, { timeout: 90000 });
  await page.waitForFunction(() => !/^–/.test(document.querySelector("#figures dd").textContent), null, { timeout: 60000 });
  await page.keyboard.press("Digit1");
  const attack = async (file, column, verdict) => {
    await page.keyboard.press("a");
    await page.waitForFunction(([c, v]) => document.querySelectorAll(`tr.story td:nth-child(${c}) ${v}`).length === 4, [column, verdict], { timeout: 60000 });
    await page.screenshot({ path: images + file });
  };
  await attack("attack-open.png", 2, ".v-allowed");
  await page.waitForFunction(() => !document.querySelector("#attack-story").disabled);
  await page.keyboard.press("Shift+Digit3");
  await page.waitForFunction(() => /stage zero-trust/.test(document.querySelector("#layers").textContent));
  await attack("attack-zero-trust.png", 4, ".v-denied-l7");
  await page.keyboard.press("Digit2");
  await page.waitForFunction(() => document.querySelectorAll("#view-trace li details").length > 3);
  await page.screenshot({ path: images + "signal-trace.png" });
} finally {
  await browser.close();
  suite.stop();
}
