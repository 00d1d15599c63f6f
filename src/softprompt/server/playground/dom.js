// Elements. Text is always set as text: output of a model or a person is never parsed as HTML.

const CONTROL_CHARACTERS = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;

/** Create an element with properties and children; children that are null are left out. */
export function createElement(tag, properties = {}, ...children) {
  const { class: className, ...others } = properties;
  const element = document.createElement(tag);
  if (className) element.className = className;
  for (const [name, value] of Object.entries(others)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  const nodes = children.filter((child) => child !== null);
  element.append(...nodes.map((child) => (typeof child === "string" ? escapeControls(child) : child)));
  return element;
}

/** Return a text with control and bidirectional characters as escapes, so that it cannot reorder this page. */
export function escapeControls(text) {
  return text.replace(CONTROL_CHARACTERS, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
