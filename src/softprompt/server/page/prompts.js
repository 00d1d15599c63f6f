// The list of prompts: what can be chosen, what is, and how much each was used.

import { duration, element, many } from "./elements.js";

const MOST = 6; // answers at once: a browser opens no more connections to one server
const SHOWN = 100; // prompts in the list; of thousands, the others are found by name
const FEW = 8; // prompts that need no finding
const ASKED = ["generation", "chat", "classification"];

export class Prompts {
  /**
   * @param page the elements: list, filter, filterRow, more.
   * @param changed is called with what is chosen, whenever that changes.
   */
  constructor(page, changed) {
    this.page = page;
    this.changed = changed;
    this.chosen = new Map(); // by the name that is asked for
    this.entries = [];
    this.used = {};
    this.figures = new Map(); // by name, the elements that tell how much it was used
    page.filter.addEventListener("input", () => this.draw());
    page.list.addEventListener("change", ({ target }) => this.choose(target));
  }

  /** Show prompts as /v1/prompts tells of them, and the base model in front. */
  show(prompts, state) {
    const base = { name: state.base, version: state.base, task: state.chats ? "chat" : "completion", isBase: true };
    this.entries = [{ name: state.base, main: base, others: [] }, ...prompts.map((prompt) => entry(prompt, state.base))];
    this.page.filterRow.hidden = prompts.length <= FEW;
    this.used = state.used;
    const known = new Map(this.entries.flatMap(({ main, others }) => [main, ...others].map((one) => [one?.name, one])));
    this.chosen = new Map([...this.chosen.keys()].filter((name) => known.has(name)).map((name) => [name, known.get(name)]));
    this.draw();
    this.changed([...this.chosen.values()]);
  }

  /** Tell anew how much each was used. */
  tell(used) {
    this.used = used;
    for (const [choice, where] of this.figures) where.textContent = this.figuresOf(choice);
  }

  draw() {
    const wanted = this.page.filter.value.trim().toLowerCase();
    const found = this.entries.filter(({ name }) => name.toLowerCase().includes(wanted));
    this.figures.clear();
    this.page.list.replaceChildren(...found.slice(0, SHOWN).map((one) => this.item(one)));
    this.page.more.textContent = this.moreWords(found.length);
    this.bound();
  }

  moreWords(found) {
    if (found > SHOWN) return `The first ${SHOWN} of ${found}: find others by their names.`;
    return found ? "" : "No prompt is called so.";
  }

  item({ name, main, others }) {
    const rest = others.length ? element("details", {}, element("summary", {}, `Other versions of ${name}`), this.versions(others)) : null;
    const head = main ? this.choice(main) : element("p", { class: "name" }, `${name}: no version is active`);
    return element("li", {}, ...[head, rest].flat());
  }

  versions(others) {
    return element("ul", {}, ...others.map((one) => element("li", {}, ...this.choice(one))));
  }

  choice(one) {
    const figures = element("span", { class: "figures", id: `figures-${one.name}` }, this.figuresOf(one));
    this.figures.set(one, figures);
    const box = element("input", { type: "checkbox", value: one.name, checked: this.chosen.has(one.name), "aria-describedby": figures.id });
    box.choice = one;
    const label = element("label", {}, box, element("span", { class: "name" }, one.name), " ", element("span", { class: "task" }, one.isBase ? "base model" : one.task));
    return [label, figures];
  }

  figuresOf(one) {
    const use = this.used[one.version];
    const words = one.isBase ? [] : [one.which];
    if (!one.isBase && !ASKED.includes(one.task)) return [...words, "not served"].join(" · ");
    if (!use) return [...words, "not asked yet"].join(" · ");
    words.push(many(use.requests, "request"), one.task === "classification" ? `${many(use.read, "token")} read` : `${many(use.written, "token")} written`);
    if (use.first_token !== null) words.push(`first after ${duration(use.first_token)}`);
    return words.join(" · ");
  }

  choose(box) {
    if (box.checked) this.chosen.set(box.value, box.choice);
    else this.chosen.delete(box.value);
    this.bound();
    this.changed([...this.chosen.values()]);
  }

  /** No more than MOST, and none that is not served. */
  bound() {
    const isFull = this.chosen.size >= MOST;
    for (const box of this.page.list.querySelectorAll("input")) {
      const isServed = box.choice.isBase || ASKED.includes(box.choice.task);
      box.disabled = !isServed || (isFull && !box.checked);
    }
  }
}

/**
 * A prompt as it can be chosen: by its name, which means the active version, and each other version.
 * The base model's name means the base model, so the active version of a prompt of that name has its number.
 */
function entry({ name, aliases, versions }, base) {
  const { active, ...named } = aliases;
  const made = versions.map((version) => ({
    name: version.version === active && name !== base ? name : version.model,
    isActive: version.version === active,
    version: version.model,
    task: version.task,
    which: which(version, versions.length, Object.keys(named).filter((alias) => named[alias] === version.version)),
  }));
  return { name, main: made.find(({ isActive }) => isActive) ?? null, others: made.filter(({ isActive }) => !isActive).reverse() };
}

function which({ version }, all, aliases) {
  const number = all === 1 ? `version ${version}` : `version ${version} of ${all}`;
  return aliases.length ? `${number} (${aliases.join(", ")})` : number;
}
