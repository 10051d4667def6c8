// The shared worker: one feed for all pages of this browser. A page that joins gets everything so far, then what comes.
import { startFeed } from "./feed.js";
import { apply, initial } from "./store.js";

const silent = 300000; // hidden pages may wake up once a minute only
const state = initial();
const pages = new Map(); // port -> when it was last heard of

let stop = null;
self.onconnect = (event) => {
  const port = event.ports[0];
  port.onmessage = ({ data }) => {
    if (data.bye) { pages.delete(port); return; }
    if (data.page && !stop) {
      stop = startFeed(data.page, (message) => {
        apply(state, message);
        const now = Date.now();
        for (const [page, heard] of pages) if (now - heard > silent) pages.delete(page); else page.postMessage(message);
      });
    }
    if (!pages.has(port) || data.page) port.postMessage({ kind: "snapshot", data: state });
    pages.set(port, Date.now());
  };
};
