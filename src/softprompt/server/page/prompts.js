// The list of prompts: what can be chosen, what is, and how much each was used.

import { tell } from "./api.js";
import { duration, element, many } from "./elements.js";

const MOST = 6; // answers at once: a browser opens no more connections to one server
const PAGE = 100; // prompts that are asked for at a time; of thousands, the others are loaded on demand or found by name
const FEW = 8; // prompts that need no finding
const PAUSE = 250; // milliseconds without typing, until what was typed is looked for
const ASKED = ["generation", "chat", "classification"];

export class Prompts {
  /**
   * @param page the elements: list, filter, filterRow, more, loadMore.
   * @param changed is called with what is chosen, whenever that changes.
   * @param failed is called with a problem of loading.
   */
  constructor(page, changed, failed) {
    this.page = page;
    this.changed = changed;
    this.failed = failed;
    this.chosen = new Map(); // by the name that is asked for
    this.base = null; // its entry
    this.entries = []; // as far as they are loaded
    this.hasMore = false;
    this.wanted = ""; // the part of a name that they are found by
    this.search = 0; // counts what was looked for: an answer that comes too late is left aside
    this.used = {};
    this.figures = new Map(); // by name, the elements that tell how much it was used
    page.filter.addEventListener("input", () => this.type());
    page.list.addEventListener("change", ({ target }) => this.choose(target));
    page.loadMore.addEventListener("click", () => this.load(this.entries.at(-1)?.name));
  }

  /** The first page of what is looked for, as /v1/prompts tells of it. */
  first() {
    return this.ask(null);
  }

  ask(after) {
    const asked = new URLSearchParams({ limit: PAGE, search: this.wanted, ...(after ? { after } : {}) });
    return tell(`/v1/prompts?${asked}`);
  }

  /** Look for what was typed, once nothing more is typed for a moment. */
  type() {
    clearTimeout(this.pause);
    this.pause = setTimeout(() => {
      this.wanted = this.page.filter.value.trim().toLowerCase();
      this.load(null);
    }, PAUSE);
  }

  /** Load the page behind a name, or the first one, and show it. */
  async load(after) {
    const mine = ++this.search;
    try {
      const list = await this.ask(after);
      if (mine !== this.search) return;
      this.add(list, after ? this.entries : []);
      this.draw();
    } catch (problem) {
      if (mine === this.search) this.failed(problem);
    }
  }

  add({ data, has_more }, before) {
    this.entries = [...before, ...data.map((prompt) => entry(prompt, this.base.name))];
    this.hasMore = has_more;
  }

  /** Show the first page of prompts, and the base model in front. What is chosen stays so, unless it is known to be gone. */
  show(list, state) {
    const main = { name: state.base, version: state.base, task: state.chats ? "chat" : "completion", isBase: true };
    this.search += 1;
    this.base = { name: state.base, main, others: [] };
    this.used = state.used;
    this.add(list, []);
    this.page.filterRow.hidden = !this.wanted && !this.hasMore && list.data.length <= FEW;
    const known = new Map([this.base, ...this.entries].flatMap(({ main, others }) => [main, ...others].map((one) => [one?.name, one])));
    const isAll = !this.wanted && !this.hasMore;
    const kept = [...this.chosen].filter(([name]) => known.has(name) || (!isAll && state.base));
    this.chosen = new Map(kept.map(([name, one]) => [name, known.get(name) ?? one]));
    this.draw();
    this.changed([...this.chosen.values()]);
  }

  /** Tell anew how much each was used. */
  tell(used) {
    this.used = used;
    for (const [choice, where] of this.figures) where.textContent = this.figuresOf(choice);
  }

  draw() {
    const isBaseFound = this.base.name.toLowerCase().includes(this.wanted);
    const found = [...(isBaseFound ? [this.base] : []), ...this.entries];
    this.figures.clear();
    this.page.list.replaceChildren(...found.map((one) => this.item(one)));
    this.page.more.textContent = this.moreWords(found.length);
    this.page.loadMore.hidden = !this.hasMore;
    this.bound();
  }

  moreWords(found) {
    if (this.hasMore) return `The first ${this.entries.length}: show more, or find others by their names.`;
    return found ? "" : "No prompt is called so.";
  }

  item({ name, main, others, unlisted }) {
    const older = unlisted ? element("p", { class: "note" }, `${many(unlisted, "older version")} not listed: ask for one as ${name}@1.`) : null;
    const rest = others.length ? element("details", {}, element("summary", {}, `Other versions of ${name}`), this.versions(others), older) : null;
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
function entry({ name, aliases, versions, num_versions }, base) {
  const { active, ...named } = aliases;
  const made = versions.map((version) => ({
    name: version.version === active && name !== base ? name : version.model,
    isActive: version.version === active,
    version: version.model,
    task: version.task,
    which: which(version, num_versions, Object.keys(named).filter((alias) => named[alias] === version.version)),
  }));
  const others = made.filter(({ isActive }) => !isActive).reverse();
  return { name, main: made.find(({ isActive }) => isActive) ?? null, others, unlisted: num_versions - versions.length };
}

function which({ version }, all, aliases) {
  const number = all === 1 ? `version ${version}` : `version ${version} of ${all}`;
  return aliases.length ? `${number} (${aliases.join(", ")})` : number;
}
