// A headless Chromium of the machine's own, which resolves the suite's host to this machine and reaches nothing else.
import { existsSync } from "node:fs";
import { chromium } from "playwright-core";

export function chromiumPath() {
  const known = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome", "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"];
  const found = known.find((path) => path && existsSync(path));
  if (!found) throw new Error("no Chromium found: install Debian's package chromium, or set CHROMIUM=/path/to/it");
  return found;
}

export const launch = () => chromium.launch({ executablePath: chromiumPath(), args: ["--no-sandbox", "--no-proxy-server", `--host-resolver-rules=MAP *.localhost 127.0.0.1, EXCLUDE localhost`] });

// watch collects what must not happen: console errors, page errors, requests to any other host. A test that expects refusals
// names the statuses whose console lines do not count.
export async function openPage(browser, suite, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 720 }, ...options });
  const page = await context.newPage();
  const strange = [];
  page.on("console", (m) => { if (m.type() === "error" && !/Failed to load resource/.test(m.text())) strange.push(`console: ${m.text()}`); });
  page.on("pageerror", (e) => strange.push(`page: ${e.message}`));
  page.on("request", (r) => { const u = new URL(r.url()); if (u.host !== new URL(suite.base).host && !/^(data|blob|about):/.test(u.protocol)) strange.push(`request to ${u.host}`); });
  await page.goto(suite.url, { waitUntil: "domcontentloaded" });
  return { page, strange, close: () => context.close() };
}
