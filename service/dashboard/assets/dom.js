// Builds elements. Text goes in as text: nothing that came over the network is ever parsed as HTML.
const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((c) => c !== null && c !== undefined && c !== false).map((c) => (c instanceof Node ? c : String(c))));
  return element;
}

export const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
export const s = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
export const $ = (id) => document.getElementById(id);

// announce says something to a screen reader: what comes together in one go, so that nothing is said over something else.
const kept = 5;
let pending = [];
export function announce(text) {
  pending.push(text);
  if (pending.length > 1) return;
  setTimeout(() => {
    const log = $("announcer");
    log.append(h("p", {}, pending.slice(-kept).join(" ")));
    pending = [];
    while (log.childElementCount > kept) log.firstElementChild.remove();
  }, 400);
}

export const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
