// Joins the page to the feed: by the shared worker where there is one, else by a feed of its own, which rests while the page is hidden,
// so that no number of pages takes all the connections that a browser allows.
import { startFeed } from "./feed.js";

export function join(take) {
  const page = location.href;
  if ("SharedWorker" in globalThis) {
    let worker;
    try { worker = new SharedWorker(new URL("worker.js", import.meta.url), { type: "module", name: "artemis-feed-2" }); } catch { worker = null; }
    if (worker) {
      let heard = false;
      worker.onerror = () => { if (!heard) alone(page, take); };
      worker.port.onmessage = ({ data }) => { heard = true; take(data); };
      worker.port.postMessage({ page });
      setInterval(() => worker.port.postMessage({ here: true }), 15000);
      addEventListener("pagehide", () => worker.port.postMessage({ bye: true }));
      addEventListener("pageshow", (e) => { if (e.persisted) worker.port.postMessage({ here: true }); });
      return;
    }
  }
  alone(page, take);
}

function alone(page, take) {
  let stop = null;
  const follow = () => {
    if (document.hidden && stop) { stop(); stop = null; }
    if (!document.hidden && !stop) stop = startFeed(page, take);
  };
  document.addEventListener("visibilitychange", follow);
  follow();
}
