// Builds elements and keeps them. Text goes in as text: nothing that came over the network is ever parsed as HTML.
const SVG = "http://www.w3.org/2000/svg";
const nothing = (child) => child === null || child === undefined || child === false;

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (nothing(value)) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  put(element, ...children);
  return element;
}

const flat = (children) => children.flat(3).filter((c) => !nothing(c)).map((c) => (c instanceof Node ? c : String(c)));

export const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
export const s = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
export const $ = (id) => document.getElementById(id);

// put appends children, refill replaces all by them; a child that is null, undefined or false is left out.
export const put = (element, ...children) => element.append(...flat(children));
export const refill = (element, ...children) => element.replaceChildren(...flat(children));

// text and attribute touch an element only where something changes.
export function text(element, value) { if (element.textContent !== value) element.textContent = value; }
export function attribute(element, name, value) {
  if (nothing(value)) { if (element.hasAttribute(name)) element.removeAttribute(name); } else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, String(value));
}

// keyed makes the children of an element follow a list: one element a key, kept for as long as the key is there, moved only when
// the order changes. make(item) returns the element, update(element, item) brings it up to date.
export function keyed(parent, items, keyOf, make, update = () => {}) {
  const known = (parent.keyed ||= new Map());
  const wanted = new Map(items.map((item) => [String(keyOf(item)), item]));
  for (const [key, element] of known) if (!wanted.has(key)) { element.remove(); known.delete(key); }
  let place = parent.firstElementChild;
  for (const [key, item] of wanted) {
    let element = known.get(key);
    if (!element) known.set(key, (element = make(item)));
    update(element, item);
    if (element === place) place = place.nextElementSibling;
    else parent.insertBefore(element, place);
  }
}

// announce says something to a screen reader: what comes together in one go, so that nothing is said over something else.
const kept = 5;
let pending = [];
export function announce(words) {
  pending.push(words);
  if (pending.length > 1) return;
  setTimeout(() => {
    put($("announcer"), h("p", {}, pending.slice(-kept).join(" ")));
    pending = [];
    while ($("announcer").childElementCount > kept) $("announcer").firstElementChild.remove();
  }, 400);
}

export const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

// roving makes a group of buttons one stop of the Tab key; the arrow keys go to the next button in that direction.
export function roving(group, selector) {
  const all = () => [...group.querySelectorAll(selector)].filter((e) => e.offsetParent);
  const only = (chosen) => { for (const e of group.querySelectorAll(selector)) attribute(e, "tabindex", e === chosen ? "0" : "-1"); };
  group.addEventListener("focusin", (e) => { const on = e.target.closest(selector); if (on) only(on); });
  group.addEventListener("keydown", (e) => {
    const way = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[e.key];
    const from = e.target.closest(selector);
    if (!way || !from) return;
    e.preventDefault();
    const middle = (x) => { const r = x.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; };
    const [x, y] = middle(from);
    let best = null, least = Infinity;
    for (const other of all()) {
      const [ox, oy] = middle(other);
      const along = (ox - x) * way[0] + (oy - y) * way[1];
      const cost = along + 3 * Math.abs((ox - x) * way[1] + (oy - y) * way[0]);
      if (other !== from && along > 2 && cost < least) [best, least] = [other, cost];
    }
    if (best) best.focus();
  });
  return () => { if (!group.querySelector(`${selector}[tabindex="0"]`)) only(group.querySelector(selector)); };
}
