// Elements and numbers. Text is always set as text: what a model or a person wrote is never read as HTML.

/** An element with properties, and what stands in it; children that are null are left out. */
export function element(tag, properties = {}, ...children) {
  const { class: name, ...others } = properties;
  const made = document.createElement(tag);
  if (name) made.className = name;
  for (const [key, value] of Object.entries(others)) {
    if (key in made) made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null).map((child) => (typeof child === "string" ? shown(child) : child)));
  return made;
}

const unseen = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;

/** A text with control and bidirectional characters as escapes: whoever wrote it turns nothing around on this page. */
export function shown(text) {
  return text.replace(unseen, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

const whole = new Intl.NumberFormat("en");

/** 1,204 tokens; 1 token. */
export function many(number, noun) {
  return `${whole.format(number)} ${noun}${number === 1 ? "" : "s"}`;
}

/** 31 ms, 1.2 s. */
export function duration(seconds) {
  if (seconds < 0.0095) return `${(1000 * seconds).toFixed(1)} ms`;
  return seconds < 0.9995 ? `${Math.round(1000 * seconds)} ms` : `${seconds.toFixed(seconds < 9.95 ? 1 : 0)} s`;
}

/** 93.1%. */
export function percent(share) {
  return `${(100 * share).toFixed(1)}%`;
}

/** A measured figure with three digits that count. */
export function figure(number) {
  return Number.isInteger(number) ? whole.format(number) : String(Number(number.toPrecision(3)));
}
