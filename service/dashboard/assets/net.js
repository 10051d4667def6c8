// Talks to the gateway that this page came from, and to nothing else.

// Every console has its own path on the gateway; this page's own is wherever it was loaded from.
export const paths = {
  director: new URL(".", location.href).pathname,
  launch: "/launch-control-http/",
  console: "/adversary-console-http/",
  suite: "/_artemis/",
};

// call answers {ok, status, body, ms, error}. It never throws: what happened is what is shown.
export async function call(method, path, body) {
  const began = performance.now();
  const abort = new AbortController();
  const timeout = setTimeout(() => abort.abort(), 15000);
  try {
    const answer = await fetch(path, {
      method, signal: abort.signal, cache: "no-store", redirect: "error",
      headers: body === undefined ? { accept: "application/json" } : { "accept": "application/json", "content-type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const text = await answer.text();
    let parsed = null;
    try { parsed = text ? JSON.parse(text) : null; } catch { parsed = null; }
    return { ok: answer.ok, status: answer.status, body: parsed, text: text.slice(0, 2000), ms: performance.now() - began };
  } catch (error) {
    return { ok: false, status: 0, body: null, text: "", ms: performance.now() - began, error: abort.signal.aborted ? "no answer within 15 s" : String(error.message || error) };
  } finally {
    clearTimeout(timeout);
  }
}

// reason: one sentence for why a call did not do what it should.
export function reason(result) {
  if (result.error) return `no answer: ${result.error}`;
  const b = result.body;
  if (b && b.detail) return `${result.status}: ${b.title ? b.title + ". " : ""}${b.detail}`;
  if (b && b.title) return `${result.status}: ${b.title}`;
  return `${result.status}: ${result.text.trim().slice(0, 200) || "no body"}`;
}

// listen follows a stream of events, reconnects with growing pauses, and says in what state it is: connecting, live or lost.
// path may be a function: it is asked again at every reconnection, so that a stream can go on where it broke.
export function listen(path, handlers, onState) {
  let source = null;
  let pause = 500;
  let closed = false;
  let timer = 0;
  const open = () => {
    if (closed) return;
    onState("connecting");
    source = new EventSource(typeof path === "function" ? path() : path);
    source.onopen = () => { pause = 500; onState("live"); };
    source.onerror = () => {
      source.close();
      if (closed) return;
      onState("lost");
      timer = setTimeout(open, pause);
      pause = Math.min(pause * 2, 10000);
    };
    for (const [name, handler] of Object.entries(handlers)) {
      source.addEventListener(name, (event) => {
        let data;
        try { data = JSON.parse(event.data); } catch { return; }
        handler(data);
      });
    }
  };
  open();
  return () => { closed = true; clearTimeout(timer); if (source) source.close(); };
}
