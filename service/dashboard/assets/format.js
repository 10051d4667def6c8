// How values are shown. A value that is not there is shown as a dash, never as zero.
const none = "–";
const has = (v) => v !== null && v !== undefined && !Number.isNaN(v);

export const number = (v, digits = 0, unit = "") => (has(v) ? Number(v).toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits }) + (unit ? " " + unit : "") : none);

// elapsed shows seconds as T+ days hours:minutes:seconds.
export function elapsed(seconds) {
  if (!has(seconds)) return none;
  const t = Math.abs(Math.trunc(seconds));
  const two = (n) => String(n).padStart(2, "0");
  const days = Math.floor(t / 86400);
  return (seconds < 0 ? "T−" : "T+") + (days ? days + "d " : "") + two(Math.floor(t / 3600) % 24) + ":" + two(Math.floor(t / 60) % 60) + ":" + two(t % 60);
}

export const time = (at) => (at ? new Date(at).toLocaleTimeString("en-GB") : none);

// identity returns the part of a SPIFFE ID that people read.
export function identity(id) {
  const m = /^spiffe:\/\/[^/]+\/ns\/([^/]+)\/sa\/(.+)$/.exec(id || "");
  return m ? `${cellOf(m[1])}/${m[2]}` : id || "no identity";
}

const truncated = { "deep-space-ne": "deep-space-network" };
export function cellOf(namespace) {
  const m = /^dp-default-(.+)-development-[0-9a-f]{8}$/.exec(namespace || "");
  return m ? truncated[m[1]] || m[1] : namespace || "";
}

// peer returns an end of a call as CELL/COMPONENT.
export const peer = (p) => (p ? p.component === "ingress" ? "gateway" : [p.cell || cellOf(p.namespace), p.component || p.service || p.address || "unknown"].filter(Boolean).join("/") : "unknown");
