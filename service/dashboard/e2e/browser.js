// A headless Chromium of the machine's own, which resolves the suite's hosts to this machine and reaches nothing else.
import { existsSync } from "node:fs";
import { chromium } from "playwright-core";

export function chromiumPath() {
  const known = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome", "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"];
  const found = known.find((path) => path && existsSync(path));
  if (!found) throw new Error("no Chromium found: install Debian's package chromium, or set CHROMIUM=/path/to/it");
  return found;
}

export const launch = () => chromium.launch({ executablePath: chromiumPath(), args: ["--no-sandbox", "--no-proxy-server", "--enable-precise-memory-info", "--js-flags=--expose-gc", `--host-resolver-rules=MAP *.localhost 127.0.0.1, EXCLUDE localhost`] });

export const newContext = (browser, options = {}) => browser.newContext({ viewport: { width: 1280, height: 720 }, colorScheme: "dark", ...options });

// openPage opens the operator's page and collects what must not happen: console errors, page errors, requests to any other host.
export async function openPage(browser, suite, { context, ...options } = {}) {
  const own = context || await newContext(browser, options);
  const page = await own.newPage();
  const strange = [];
  page.on("console", (m) => { if (m.type() === "error" && !/Failed to load resource|ERR_/.test(m.text())) strange.push(`console: ${m.text()}`); });
  page.on("pageerror", (e) => strange.push(`page: ${e.message}`));
  page.on("request", (r) => { const u = new URL(r.url()); if (u.host !== new URL(suite.base).host && !/^(data|blob|about):/.test(u.protocol)) strange.push(`request to ${u.host}`); });
  await page.goto(suite.url, { waitUntil: "domcontentloaded" });
  return { page, strange, context: own, close: () => (context ? page.close() : own.close()) };
}

// until waits for a condition in the page and says on failure what it saw.
export async function until(page, what, condition, argument, timeout = 60000) {
  await page.waitForFunction(condition, argument, { timeout }).catch(async (e) => {
    const seen = await page.evaluate(() => ({ banner: document.querySelector("#banner").innerText, lane: document.querySelector("#lane").innerText, notice: document.querySelector("#notice").innerText, met: document.querySelector("#clock").innerText }));
    throw new Error(`waited for ${what}: ${e.message.split("\n")[0]}; the page shows ${JSON.stringify(seen)}`);
  });
}

// says waits until an element's text matches.
export const says = (page, selector, pattern, timeout) => until(page, `${selector} ${pattern}`, ([s, p]) => new RegExp(p, "i").test(document.querySelector(s)?.textContent || ""), [selector, pattern.source], timeout);

// here waits until the page has joined: the Cells are drawn, the campaign is there and the attackers are in.
export const here = (page) => until(page, "the page to be there", () => document.querySelectorAll("#graph .node").length >= 22 && !document.querySelector("#attack-story").disabled && /[1-9] of/.test(document.querySelector("#online").textContent));
