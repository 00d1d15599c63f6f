// The list of prompts: lists what can be selected, holds the selection, and shows each prompt's usage.

import { getJson } from "./api.js";
import { createElement } from "./dom.js";
import { formatDuration, pluralize } from "./format.js";

const MAX_SELECTED = 6; // concurrent responses: a browser opens no more connections to one server
const PAGE_SIZE = 100; // prompts of one request; further ones are loaded on demand or found by name
const FILTER_THRESHOLD = 8; // number of prompts above which the filter is shown
const DEBOUNCE_MS = 250; // time without typing before the search starts
const SERVED_TASKS = ["generation", "chat", "classification"];

export class PromptPicker {
  /**
   * @param elements list, filter, filterRow, status, loadMore.
   * @param onChange called with the selected choices whenever the selection changes.
   * @param onError called with an error of loading.
   */
  constructor(elements, onChange, onError) {
    this.elements = elements;
    this.onChange = onChange;
    this.onError = onError;
    this.selected = new Map(); // choices by the model name that requests use
    this.baseEntry = null; // entry of the base model
    this.entries = []; // entries that have been loaded
    this.hasMore = false;
    this.query = ""; // part of the name that prompts are filtered by
    this.requestId = 0; // number of the newest request: responses to older ones are dropped
    this.usage = {};
    this.usageElements = new Map(); // by choice, the elements that show its usage
    elements.filter.addEventListener("input", () => this.onFilterInput());
    elements.list.addEventListener("change", ({ target }) => this.onToggle(target));
    elements.loadMore.addEventListener("click", () => this.loadPage(this.entries.at(-1)?.name));
  }

  /** Fetch the first page of the current query from /v1/prompts. */
  loadFirstPage() {
    return this.fetchPage(null);
  }

  fetchPage(after) {
    const parameters = new URLSearchParams({ limit: PAGE_SIZE, search: this.query, ...(after ? { after } : {}) });
    return getJson(`/v1/prompts?${parameters}`);
  }

  /** Search once the user has stopped typing for a moment. */
  onFilterInput() {
    clearTimeout(this.debounceTimer);
    this.debounceTimer = setTimeout(() => {
      this.query = this.elements.filter.value.trim().toLowerCase();
      this.loadPage(null);
    }, DEBOUNCE_MS);
  }

  /** Load and show the page after a name, or the first page. */
  async loadPage(after) {
    const requestId = ++this.requestId;
    try {
      const list = await this.fetchPage(after);
      if (requestId !== this.requestId) return;
      this.addEntries(list, after ? this.entries : []);
      this.render();
    } catch (error) {
      if (requestId === this.requestId) this.onError(error);
    }
  }

  addEntries({ data, has_more: hasMore }, previous) {
    this.entries = [...previous, ...data.map((prompt) => toEntry(prompt, this.baseEntry.name))];
    this.hasMore = hasMore;
  }

  /** Show the base model and the first page of prompts. Selected choices stay unless they are known to be deleted. */
  setPrompts(list, state) {
    const task = state.has_chat_template ? "chat" : "completion";
    const activeVersion = { name: state.base_model, version: state.base_model, task, isBase: true };
    this.requestId += 1;
    this.baseEntry = { name: state.base_model, activeVersion, otherVersions: [] };
    this.usage = state.usage;
    this.addEntries(list, []);
    this.elements.filterRow.hidden = !this.query && !this.hasMore && list.data.length <= FILTER_THRESHOLD;
    const choices = [this.baseEntry, ...this.entries].flatMap((entry) => [entry.activeVersion, ...entry.otherVersions]);
    const listed = new Map(choices.map((choice) => [choice?.name, choice]));
    const isComplete = !this.query && !this.hasMore;
    const remaining = [...this.selected].filter(([name]) => listed.has(name) || (!isComplete && state.base_model));
    this.selected = new Map(remaining.map(([name, choice]) => [name, listed.get(name) ?? choice]));
    this.render();
    this.onChange([...this.selected.values()]);
  }

  /** Show new usage counts. */
  updateUsage(usage) {
    this.usage = usage;
    for (const [choice, element] of this.usageElements) element.textContent = this.usageText(choice);
  }

  render() {
    const isBaseListed = this.baseEntry.name.toLowerCase().includes(this.query);
    const listed = [...(isBaseListed ? [this.baseEntry] : []), ...this.entries];
    this.usageElements.clear();
    this.elements.list.replaceChildren(...listed.map((entry) => this.renderEntry(entry)));
    this.elements.status.textContent = this.moreText(listed.length);
    this.elements.loadMore.hidden = !this.hasMore;
    this.updateDisabled();
  }

  moreText(numListed) {
    if (this.hasMore) return `The first ${this.entries.length}: show more, or search by name.`;
    return numListed ? "" : "No prompt matches.";
  }

  renderEntry({ name, activeVersion, otherVersions, numUnlisted }) {
    const note = numUnlisted ? createElement("p", { class: "note" }, `${pluralize(numUnlisted, "older version")} not listed: request one as ${name}@1.`) : null;
    const summary = createElement("summary", {}, `Other versions of ${name}`);
    const others = otherVersions.length ? createElement("details", {}, summary, this.renderVersions(otherVersions), note) : null;
    const head = activeVersion ? this.renderChoice(activeVersion) : createElement("p", { class: "name" }, `${name}: no version is active`);
    return createElement("li", {}, ...[head, others].flat());
  }

  renderVersions(choices) {
    return createElement("ul", {}, ...choices.map((choice) => createElement("li", {}, ...this.renderChoice(choice))));
  }

  renderChoice(choice) {
    const usage = createElement("span", { class: "usage", id: `usage-${choice.name}` }, this.usageText(choice));
    this.usageElements.set(choice, usage);
    const checkbox = createElement("input", { type: "checkbox", value: choice.name, checked: this.selected.has(choice.name), "aria-describedby": usage.id });
    checkbox.choice = choice;
    const task = createElement("span", { class: "task" }, choice.isBase ? "base model" : choice.task);
    const label = createElement("label", {}, checkbox, createElement("span", { class: "name" }, choice.name), " ", task);
    return [label, usage];
  }

  usageText(choice) {
    const usage = this.usage[choice.version];
    const parts = choice.isBase ? [] : [choice.versionText];
    if (!isServed(choice)) return [...parts, "not served"].join(" · ");
    if (!usage) return [...parts, "not used yet"].join(" · ");
    const isClassifier = choice.task === "classification";
    parts.push(pluralize(usage.num_requests, "request"));
    parts.push(isClassifier ? `${pluralize(usage.prompt_tokens, "token")} read` : `${pluralize(usage.completion_tokens, "token")} generated`);
    if (usage.mean_ttft_seconds !== null) parts.push(`first token after ${formatDuration(usage.mean_ttft_seconds)}`);
    return parts.join(" · ");
  }

  onToggle(checkbox) {
    if (checkbox.checked) this.selected.set(checkbox.value, checkbox.choice);
    else this.selected.delete(checkbox.value);
    this.updateDisabled();
    this.onChange([...this.selected.values()]);
  }

  /** Disable prompts that are not served, and all others once MAX_SELECTED are selected. */
  updateDisabled() {
    const isFull = this.selected.size >= MAX_SELECTED;
    for (const checkbox of this.elements.list.querySelectorAll("input")) {
      checkbox.disabled = !isServed(checkbox.choice) || (isFull && !checkbox.checked);
    }
  }
}

function isServed(choice) {
  return choice.isBase || SERVED_TASKS.includes(choice.task);
}

/**
 * Return the entry of a prompt: its active version, under the prompt's name, and its other versions.
 * The base model's name always refers to the base model. A prompt of the same name is listed with its version number.
 */
function toEntry({ name, aliases, versions, num_versions: numVersions }, baseModel) {
  const { active, ...otherAliases } = aliases;
  const aliasesOf = (version) => Object.keys(otherAliases).filter((alias) => otherAliases[alias] === version.version);
  const choices = versions.map((version) => ({
    name: version.version === active && name !== baseModel ? name : version.model,
    isActive: version.version === active,
    version: version.model,
    task: version.task,
    versionText: versionText(version, numVersions, aliasesOf(version)),
  }));
  const activeVersion = choices.find(({ isActive }) => isActive) ?? null;
  const otherVersions = choices.filter(({ isActive }) => !isActive).reverse();
  return { name, activeVersion, otherVersions, numUnlisted: numVersions - versions.length };
}

function versionText({ version }, numVersions, aliases) {
  const text = numVersions === 1 ? `version ${version}` : `version ${version} of ${numVersions}`;
  return aliases.length ? `${text} (${aliases.join(", ")})` : text;
}
