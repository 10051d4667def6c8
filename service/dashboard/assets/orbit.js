// The Earth-Moon picture: the trajectory that flight-dynamics computed, what was flown of it, and where the spacecraft was when
// its last frame left. Kilometres, Earth at the origin, the flight's plane.
import { $ } from "./dom.js";
import { number } from "./format.js";

const EARTH = 6378, MOON = 1737;

export function makeOrbit(store) {
  const canvas = $("orbit");
  const draw = () => {
    const { trajectory: t, status } = store.state;
    const ratio = Math.min(devicePixelRatio || 1, 2);
    const w = canvas.clientWidth, hgt = canvas.clientHeight;
    if (!w || !hgt) return;
    if (canvas.width !== Math.round(w * ratio)) { canvas.width = Math.round(w * ratio); canvas.height = Math.round(hgt * ratio); }
    const g = canvas.getContext("2d");
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    g.fillStyle = "#03070f";
    g.fillRect(0, 0, w, hgt);
    const path = (t && t.nominal) || [];
    const moon = t && t.moon;
    // The view holds Earth and the whole path, which turns behind the Moon; the longer side lies across.
    const points = path.concat([{ x: -2 * EARTH, y: -2 * EARTH }, { x: 2 * EARTH, y: 2 * EARTH }]);
    let [x0, x1, y0, y1] = [Infinity, -Infinity, Infinity, -Infinity];
    for (const p of points) { x0 = Math.min(x0, p.x); x1 = Math.max(x1, p.x); y0 = Math.min(y0, p.y); y1 = Math.max(y1, p.y); }
    const turned = y1 - y0 > x1 - x0;
    const [a0, a1, b0, b1] = turned ? [y0, y1, x0, x1] : [x0, x1, y0, y1];
    const scale = Math.min((w - 40) / (a1 - a0 || 1), (hgt - 40) / (b1 - b0 || 1));
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
    const disc = (p, radius, style) => { g.beginPath(); g.arc(...at(p), Math.max(radius * scale, 0), 0, 7); g.fillStyle = style; g.fill(); };
    const label = (text, p, dx, dy) => { const [x, y] = at(p); g.fillStyle = "#c9d6ea"; g.font = "12px system-ui, sans-serif"; g.fillText(text, Math.min(Math.max(x + dx, 2), w - 70), Math.min(Math.max(y + dy, 11), hgt - 3)); };
    line(path, "#56708f", 1.2, [4, 4]);
    line((t && t.flown) || [], "#56b4e9", 2.4);
    disc({ x: 0, y: 0 }, Math.max(EARTH, 6 / scale), "#3d86d8");
    label("Earth", { x: 0, y: 0 }, 9, 4);
    if (moon) {
      // The Moon comes into the view only about the flyby; before and after, an arrow at the edge says where it is.
      const [x, y] = at(moon);
      const [ex, ey] = [Math.min(Math.max(x, 12), w - 12), Math.min(Math.max(y, 12), hgt - 12)];
      if (x === ex && y === ey) { disc(moon, Math.max(MOON, 4 / scale), "#c9d3e0"); label("Moon", moon, 8, 4); } else {
        g.fillStyle = "#c9d3e0"; g.font = "12px system-ui, sans-serif";
        g.fillText(`Moon ${y > ey ? "↓" : y < ey ? "↑" : x > ex ? "→" : "←"}`, Math.min(Math.max(ex - 20, 4), w - 50), y < ey ? 14 : hgt - 6);
      }
    }
    for (const burn of (t && t.burns) || []) {
      const there = nearest((t.flown || []).length ? t.flown : path, burn.at);
      if (!there) continue;
      const [x, y] = at(there);
      g.beginPath(); g.moveTo(x, y - 6); g.lineTo(x + 5, y + 4); g.lineTo(x - 5, y + 4); g.closePath(); g.fillStyle = "#e69f00"; g.fill();
    }
    const ship = t && t.position;
    if (ship && Number.isFinite(ship.x)) {
      if (status && status.station && status.contact && status.contact.state === "live") {
        line([{ x: 0, y: 0 }, ship], "#56b4e966", 1, [2, 5]);
      }
      const [x, y] = at(ship);
      g.beginPath(); g.arc(x, y, 5.5, 0, 7); g.fillStyle = "#fff"; g.fill();
      g.beginPath(); g.arc(x, y, 9, 0, 7); g.strokeStyle = status && status.spacecraftMode === "aborting" ? "#ff9a76" : "#fff"; g.lineWidth = 1.4; g.stroke();
      label("Orion", ship, 12, -8);
    }
    const words = [];
    if (!t) words.push("No trajectory has come yet.");
    else if (!ship) words.push("No position has come down yet.");
    else words.push(`Orion is ${number(status && status.distanceEarthKm, 0, "km")} from Earth and ${number(status && status.distanceMoonKm, 0, "km")} from the Moon.`);
    if (status && status.station) words.push(`In view of ${status.station}.`);
    if (t && (t.burns || []).length) words.push(`${t.burns.length} burn${t.burns.length > 1 ? "s" : ""} flown.`);
    $("orbit-text").textContent = words.join(" ");
    canvas.setAttribute("aria-label", "Earth, Moon and the spacecraft's trajectory. " + words.join(" "));
  };
  let asked = false;
  const later = () => { if (!asked) { asked = true; requestAnimationFrame(() => { asked = false; draw(); }); } };
  store.on("trajectory", later);
  store.on("status", later);
  store.on("theme", later);
  addEventListener("resize", later);
  later();
}

// nearest gives the point of a path that is closest to a mission time.
function nearest(list, time) {
  let best = null;
  for (const p of list) if (Number.isFinite(p.t) && (!best || Math.abs(p.t - time) < Math.abs(best.t - time))) best = p;
  return best;
}
