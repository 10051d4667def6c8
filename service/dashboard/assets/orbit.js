// The Earth-Moon picture: the trajectory that flight-dynamics computed, what was flown of it, and where the spacecraft was when its last
// frame left. Kilometres, Earth at the origin, the flight's plane. The Moon's way during the flight is always in it, so nothing jumps.
import { $, attribute, text } from "./dom.js";
import { number } from "./format.js";
import { condition, rolledBy } from "./flight.js";

const EARTH = 6378, MOON = 1737, MONTH = 27.32 * 86400;

export function makeOrbit(store) {
  const canvas = $("orbit");
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function draw() {
    const { trajectory: t, status } = store.state;
    const ratio = Math.min(devicePixelRatio || 1, 3);
    const w = canvas.clientWidth, hgt = canvas.clientHeight;
    if (!w || !hgt) return;
    const em = parseFloat(getComputedStyle(document.documentElement).fontSize);
    if (canvas.width !== Math.round(w * ratio) || canvas.height !== Math.round(hgt * ratio)) { canvas.width = Math.round(w * ratio); canvas.height = Math.round(hgt * ratio); }
    const g = canvas.getContext("2d");
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    g.clearRect(0, 0, w, hgt);
    stars(g, w, hgt);
    const path = t?.nominal || [], flown = t?.flown || [], moon = t?.moon, ship = t?.position && Number.isFinite(t.position.x) ? t.position : null;
    const arc = moon ? moonWay(moon, ship ? ship.missionTime : status?.missionTime, path) : [];
    // Earth, the whole path and the Moon's way: the longer side lies across. A ship that left all that is held at the edge.
    let [x0, x1, y0, y1] = [-3 * EARTH, 3 * EARTH, -3 * EARTH, 3 * EARTH];
    for (const p of path.concat(arc)) { x0 = Math.min(x0, p.x); x1 = Math.max(x1, p.x); y0 = Math.min(y0, p.y); y1 = Math.max(y1, p.y); }
    const turned = y1 - y0 > x1 - x0;
    const [a0, a1, b0, b1] = turned ? [y0, y1, x0, x1] : [x0, x1, y0, y1];
    const margin = 1.4 * em;
    const scale = Math.min((w - 2 * margin) / (a1 - a0), (hgt - 2 * margin) / (b1 - b0));
    const at = (p) => {
      const [a, b] = turned ? [p.y, p.x] : [p.x, p.y];
      return [w / 2 + (a - (a0 + a1) / 2) * scale, hgt / 2 - (b - (b0 + b1) / 2) * scale];
    };
    const line = (list, style, width, dash = []) => {
      if (list.length < 2) return;
      g.beginPath();
      list.forEach((p, i) => (i ? g.lineTo(...at(p)) : g.moveTo(...at(p))));
      g.strokeStyle = style; g.lineWidth = width; g.setLineDash(dash); g.stroke(); g.setLineDash([]);
    };
    const disc = (p, radius, style) => { g.beginPath(); g.arc(...at(p), Math.max(radius * scale, 0.5), 0, 7); g.fillStyle = style; g.fill(); };
    const taken = [];
    const label = (words, p, size = 0.8) => {
      const [x, y] = at(p);
      g.font = `600 ${size * em}px system-ui, sans-serif`;
      const long = g.measureText(words).width, high = size * em * 1.1;
      for (const [dx, dy] of [[0.7, 0.35], [0.7, -0.7], [0.7, 1.4], [-0.7 - long / em, 0.35], [-long / em / 2, -0.9], [-long / em / 2, 1.7]]) {
        const lx = Math.min(Math.max(x + dx * em, 2), w - long - 2), ly = Math.min(Math.max(y + dy * em, high), hgt - 4);
        if (taken.some((b) => lx < b.x + b.w && lx + long > b.x && ly - high < b.y && ly > b.y - b.h)) continue;
        taken.push({ x: lx, y: ly, w: long, h: high });
        g.fillStyle = "#e8eefb"; g.fillText(words, lx, ly);
        return;
      }
    };
    const c = condition(store.state);
    const bad = c.tone === "bad";
    line(arc, "#5f6f88", 1, [2, 6]);
    line(path, "#8fa3bf", 1.4, [5, 5]);
    line(flown, bad ? colour("--space-breach") : "#6cc3ff", 0.2 * em);
    disc({ x: 0, y: 0 }, Math.max(EARTH, 0.5 * em / scale), "#3d86d8");
    if (moon) disc(moon, Math.max(MOON, 0.34 * em / scale), "#d5dbe6");
    for (const burn of t?.burns || []) {
      const there = nearest(flown.length ? flown : path, burn.at);
      if (!there) continue;
      const [x, y] = at(there), r = 0.35 * em;
      g.beginPath(); g.moveTo(x, y - r); g.lineTo(x + r, y + r * 0.8); g.lineTo(x - r, y + r * 0.8); g.closePath(); g.fillStyle = burn.type === "abort" ? colour("--space-breach") : "#ffc14d"; g.fill();
    }
    let outside = false;
    if (ship) {
      if (status?.station && status.contact?.state === "live" && c.id !== "home") line([{ x: 0, y: 0 }, ship], "#6cc3ff88", 1, [2, 5]);
      let [x, y] = at(ship);
      const [ex, ey] = [Math.min(Math.max(x, margin), w - margin), Math.min(Math.max(y, margin), hgt - margin)];
      outside = Math.hypot(x - ex, y - ey) > margin;
      [x, y] = [ex, ey];
      g.save();
      g.translate(x, y);
      g.rotate((rolledBy(store.state) * Math.PI) / 180);
      const r = 0.42 * em;
      g.beginPath(); g.moveTo(0, -1.5 * r); g.lineTo(r, r); g.lineTo(-r, r); g.closePath(); g.fillStyle = "#fff"; g.fill();
      g.restore();
      g.beginPath(); g.arc(x, y, 0.8 * em, 0, 7); g.strokeStyle = bad ? colour("--space-breach") : "#fff"; g.lineWidth = 0.1 * em; g.stroke();
      taken.push({ x: x - 0.8 * em, y: y + 0.8 * em, w: 1.6 * em, h: 1.6 * em });
      const back = turned ? { x: (hgt / 2 - y) / scale + (b0 + b1) / 2, y: (x - w / 2) / scale + (a0 + a1) / 2 } : { x: (x - w / 2) / scale + (a0 + a1) / 2, y: (hgt / 2 - y) / scale + (b0 + b1) / 2 };
      label(outside ? "Orion, outside the picture" : "Orion", back, 0.9);
    }
    if (moon) label("Moon", moon);
    label("Earth", { x: 0, y: 0 });
    const words = [];
    if (!t) words.push("No trajectory has come yet.");
    // The figures beside the picture are telemetry's: what is said in words is the same.
    const where = Number.isFinite(status?.distanceEarthKm) ? status : ship;
    if (!where) { if (t) words.push("No position has come down yet."); }
    else words.push(`Orion ${c.current ? "is" : "was"} ${number(where.distanceEarthKm, 0, "km")} from Earth and ${number(where.distanceMoonKm, 0, "km")} from the Moon.`);
    if (t?.orbit && t.orbit.deviationKm > 500 && c.id !== "home") words.push(`${number(t.orbit.deviationKm, 0, "km")} off the plan.`);
    if (rolledBy(store.state)) words.push(`It lies at ${rolledBy(store.state)}°.`);
    text($("orbit-text"), words.join(" "));
    attribute(canvas, "aria-label", "Earth, Moon and the spacecraft's trajectory. " + words.join(" "));
  }
  store.on(["trajectory", "status", "theme", "layout", "condition"], draw);
  new ResizeObserver(() => store.changed("layout")).observe(canvas);
}

// moonWay returns where the Moon is from lift-off to the end of the path: a circle that it goes round once a month, towards where the
// path is farthest out when the path is there.
function moonWay(moon, now, path) {
  if (!path.length || !Number.isFinite(now)) return [moon];
  const angle = Math.atan2(moon.y, moon.x), radius = Math.hypot(moon.x, moon.y);
  let far = path[0];
  for (const p of path) if (Math.hypot(p.x, p.y) > Math.hypot(far.x, far.y)) far = p;
  const miss = (way) => Math.abs(Math.atan2(Math.sin(angle + way * (far.t - now) * 2 * Math.PI / MONTH - Math.atan2(far.y, far.x)), Math.cos(angle + way * (far.t - now) * 2 * Math.PI / MONTH - Math.atan2(far.y, far.x))));
  const way = miss(1) <= miss(-1) ? 1 : -1;
  const end = path[path.length - 1].t, list = [];
  for (let i = 0; i <= 60; i++) { const a = angle + way * (((end * i) / 60 - now) * 2 * Math.PI) / MONTH; list.push({ x: radius * Math.cos(a), y: radius * Math.sin(a) }); }
  return list;
}

// stars are decoration, always the same.
function stars(g, w, hgt) {
  g.fillStyle = "#ffffff55";
  for (let i = 0, seed = 7; i < 60; i++) { seed = (seed * 16807) % 2147483647; const x = seed % 997; seed = (seed * 16807) % 2147483647; g.fillRect((x / 997) * w, ((seed % 991) / 991) * hgt, 1, 1); }
}

// nearest returns the point of a path that is closest to a mission time.
function nearest(list, time) {
  let best = null;
  for (const p of list) if (Number.isFinite(p.t) && (!best || Math.abs(p.t - time) < Math.abs(best.t - time))) best = p;
  return best;
}
