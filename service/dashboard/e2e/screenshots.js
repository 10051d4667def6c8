// Writes the pictures of the README: docs/images/*.png, from a running mission, at a projector's 1280x720.
import { mkdirSync } from "node:fs";
import { launch, openPage } from "./browser.js";
import { startSuite } from "./suite.js";

const images = new URL("../../../docs/images/", import.meta.url).pathname;
mkdirSync(images, { recursive: true });
const browser = await launch();
const suite = await startSuite({ stage: "zero-trust", timeScale: 1440 });
try {
  const { page } = await openPage(browser, suite, { colorScheme: "dark" });
  const shows = (selector, pattern) => page.waitForFunction(([s, p]) => new RegExp(p).test(document.querySelector(s).textContent), [selector, pattern], { timeout: 90000 });
  const picture = (file) => page.screenshot({ path: images + file });
  const attack = async (column, verdict) => {
    await page.keyboard.press("Digit1");
    await page.waitForFunction(() => !document.querySelector("#attack-story").disabled);
    await page.keyboard.press("a");
    await page.waitForFunction(([c, v]) => document.querySelectorAll(`tr.story td:nth-child(${c}) ${v}`).length === 4, [column, verdict], { timeout: 60000 });
  };
  await page.keyboard.press("Digit3");
  await page.locator("#start").click();
  await shows("#orbit-text", "Orion is");
  await attack(4, ".v-denied-l7");
  await shows("#figures", "nominal");
  await picture("attack-zero-trust.png");
  await page.keyboard.press("Digit2");
  await page.waitForFunction(() => document.querySelectorAll("#view-trace li details").length > 3);
  await picture("signal-trace.png");
  await page.keyboard.press("Shift+Digit1");
  await shows("#layers", "stage open");
  await attack(2, ".v-allowed");
  await shows("#figures", "aborting");
  await picture("attack-open.png");
} finally {
  await browser.close();
  suite.stop();
}
