// Runs a local suite of its own for the tests: its own state directory, its own gateway port.
import { execFile, execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);
const root = new URL("../../../", import.meta.url).pathname;

// launchControl calls it as the operator does, through the gateway; Node resolves no name below localhost.
const launchControl = (port, method, path) => new Promise((resolve, reject) => {
  const r = request({ host: "127.0.0.1", port, method, path: `/launch-control-http${path}`, headers: { "host": `development-default.openchoreoapis.localhost:${port}`, "content-type": "application/json" } }, (answer) => {
    let text = "";
    answer.setEncoding("utf8").on("data", (d) => { text += d; }).on("end", () => { try { resolve(JSON.parse(text)); } catch { reject(new Error(`${path}: ${answer.statusCode} ${text}`)); } });
  });
  r.on("error", reject);
  r.end(method === "POST" ? "{}" : undefined);
});

export async function startSuite({ stage = "zero-trust", timeScale } = {}) {
  const state = mkdtempSync(join(tmpdir(), "artemis-e2e-"));
  const artemis = (...args) => run(join(root, "bin/artemis"), [...args, "--state-dir", state], { cwd: root, maxBuffer: 1 << 24 });
  let port = 0; // the first that is free; kept from then on
  const up = async () => {
    const flags = timeScale ? ["--time-scale", String(timeScale)] : [];
    const { stdout } = await artemis("up", "--detach", "--stage", stage, "--gateway", `127.0.0.1:${port}`, ...flags);
    return stdout.match(/^mission control +(\S+)$/m)[1]; // with the operator's token
  };
  const url = await up();
  ({ port } = new URL(url));
  // Control by the socket, as the command line does it.
  const control = (method, path, body) => new Promise((resolve, reject) => {
    const r = request({ socketPath: join(state, "control.sock"), method, path: `/_artemis/${path}`, headers: { "host": "localhost", "content-type": "application/json" } }, (answer) => {
      let text = "";
      answer.setEncoding("utf8").on("data", (d) => { text += d; }).on("end", () => { try { resolve(JSON.parse(text)); } catch { reject(new Error(`${method} ${path}: ${answer.statusCode} ${text}`)); } });
    });
    r.on("error", reject);
    r.end(body === undefined ? undefined : JSON.stringify(body));
  });
  return {
    base: new URL(url).origin, port, artemis, url, control,
    socket: join(state, "control.sock"),
    // flight begins one and returns when it flies.
    async flight() {
      await launchControl(port, "POST", "/countdown/start");
      for (const end = Date.now() + 60000; ;) {
        if ((await launchControl(port, "GET", "/countdown/status")).state === "launched") return;
        if (Date.now() > end) throw new Error("no lift-off within 60 s");
        await new Promise((resolve) => setTimeout(resolve, 200));
      }
    },
    // decisions returns the latest 1,000 of the log.
    async decisions() {
      const { next } = await control("GET", "decisions?since=999999999999");
      return (await control("GET", `decisions?limit=1000&since=${Math.max(next - 1000, 0)}`)).decisions;
    },
    stage: (to) => control("POST", "stage", { stage: to }),
    // down stops it, up starts it anew under the same address.
    down: () => artemis("down"),
    up,
    status: async () => JSON.parse((await artemis("status", "--json")).stdout),
    stop() {
      try { execFileSync(join(root, "bin/artemis"), ["down", "--state-dir", state], { cwd: root, stdio: "ignore" }); } finally { rmSync(state, { recursive: true, force: true }); }
    },
  };
}
