// Writes the pictures of the README and the docs: docs/images/*.png, from a running mission, at a projector's 1280x720.
import { mkdirSync } from "node:fs";
import { here, launch, openPage, says, until } from "./browser.js";
import { startSuite } from "./suite.js";

const images = new URL("../../../docs/images/", import.meta.url).pathname;
mkdirSync(images, { recursive: true });
const browser = await launch();
const suite = await startSuite({ stage: "zero-trust", timeScale: 2880 });
try {
  const { page } = await openPage(browser, suite);
  const picture = async (file) => {
    await until(page, "refusals of before to be gone", () => document.querySelector("#graph .moving").getAnimations({ subtree: true }).every((a) => !a.effect.target.matches(".refused")));
    await until(page, "a gate that no longer flares", () => document.querySelector("#lane").getAnimations({ subtree: true }).every((a) => a.playState === "finished"));
    await page.screenshot({ path: images + file });
  };
  await here(page);
  await suite.flight();
  // The Moon's way takes a while; the whole campaign fills the map meanwhile.
  await page.getByRole("button", { name: "Whole campaign" }).click();
  await until(page, "the campaign", () => !document.querySelector("#attack-all").disabled && document.querySelectorAll('#map [data-stage="zero-trust"][data-verdict]').length > 45, null, 180000);
  await suite.stage("open");
  for (const id of ["vitals", "uplink", "maneuver", "abort"]) {
    await suite.control("POST", `attacks/${id}`, {});
    if (id === "vitals") await until(page, "the loot", () => !document.querySelector("#loot").hidden);
  }
  await says(page, "#banner-word", /MISSION ABORTED/);
  await until(page, "the craft", () => document.body.dataset.flight === "aborted");
  await picture("attack-open.png");
  await page.keyboard.press("f");
  await until(page, "another flight", () => document.body.dataset.flight === "flight");
  await suite.control("POST", "attacks/vitals", {});
  await says(page, "#banner", /CREW DATA STOLEN/);
  await page.keyboard.press("x");
  await says(page, "#banner", /STOPPED BY 3/);
  await until(page, "calls in the picture", () => document.querySelector("#graph .moving").getAnimations({ subtree: true }).length > 3);
  await picture("attack-zero-trust.png");
  await page.keyboard.press("Digit2");
  await until(page, "calls in the table", () => document.querySelectorAll(".calls tbody tr").length > 40);
  await page.getByLabel("which calls").selectOption("refused");
  await page.locator(".scroll").hover(); // while somebody reads nothing moves
  await page.locator(".calls tbody tr.d-refused button").first().click();
  await picture("calls.png");
  await page.keyboard.press("Digit1");
  await page.keyboard.press("p");
  await page.setViewportSize({ width: 1920, height: 1080 });
  await picture("present.png");
} finally {
  await browser.close();
  suite.stop();
}
