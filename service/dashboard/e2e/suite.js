// Runs a local suite of its own for the tests: its own state directory, its own gateway port.
import { execFile, execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);
const root = new URL("../../../", import.meta.url).pathname;

const freePort = () => new Promise((resolve, reject) => {
  const server = createServer();
  server.on("error", reject);
  server.listen(0, "127.0.0.1", () => { const { port } = server.address(); server.close(() => resolve(port)); });
});

export async function startSuite({ stage = "zero-trust", timeScale } = {}) {
  const port = await freePort();
  const state = mkdtempSync(join(tmpdir(), "artemis-e2e-"));
  const artemis = (...args) => run(join(root, "bin/artemis"), [...args, "--state-dir", state], { cwd: root, maxBuffer: 1 << 24 });
  const flags = ["up", "--detach", "--stage", stage, "--gateway", `127.0.0.1:${port}`];
  if (timeScale) flags.push("--time-scale", String(timeScale));
  const { stdout } = await artemis(...flags);
  const url = stdout.match(/^mission control +(\S+)$/m)[1]; // with the operator's token
  return {
    base: new URL(url).origin, port, artemis, url,
    status: async () => JSON.parse((await artemis("status", "--json")).stdout),
    stop() {
      try { execFileSync(join(root, "bin/artemis"), ["down", "--state-dir", state], { cwd: root, stdio: "ignore" }); } finally { rmSync(state, { recursive: true, force: true }); }
    },
  };
}
