// Talks to the gateway that this page came from, and to nothing else.

// pathsOf returns the consoles' paths on the gateway; the page's own is wherever it was loaded from.
export const pathsOf = (page) => ({
  director: new URL(".", page).pathname,
  launch: "/launch-control-http/",
  console: "/adversary-console-http/",
  suite: "/_artemis/",
});

const patience = 60000; // an attack waits for its attacker, and for two controls

// call answers {ok, status, body, text, ms, error}. It never throws: what happened is what is shown.
export async function call(method, path, body, within = patience) {
  const began = performance.now();
  const abort = new AbortController();
  const timeout = setTimeout(() => abort.abort(), within);
  try {
    const answer = await fetch(path, {
      method, signal: abort.signal, cache: "no-store", redirect: "error",
      headers: body === undefined ? { accept: "application/json" } : { "accept": "application/json", "content-type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const text = await answer.text();
    let parsed = null;
    try { parsed = text ? JSON.parse(text) : null; } catch { parsed = null; }
    return { ok: answer.ok, status: answer.status, body: parsed, text, ms: performance.now() - began };
  } catch (error) {
    return { ok: false, status: 0, body: null, text: "", ms: performance.now() - began, error: abort.signal.aborted ? `no answer within ${within / 1000} s` : String(error.message || error) };
  } finally {
    clearTimeout(timeout);
  }
}

// reason says in one sentence why a call did not do what it should.
export function reason(result) {
  if (result.error) return `no answer: ${result.error}`;
  const b = result.body;
  if (b && b.detail) return `${result.status}: ${b.title ? b.title + ". " : ""}${b.detail}`;
  if (b && b.title) return `${result.status}: ${b.title}`;
  return `${result.status}: ${result.text.trim().slice(0, 200) || "no body"}`;
}
