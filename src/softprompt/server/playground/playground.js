// The playground: sends one input to all selected prompts and shows their responses side by side.

import { AnswerCard } from "./answer-card.js";
import { getJson, hasKey, RequestError, setApiKey } from "./api.js";
import { createElement, escapeControls } from "./dom.js";
import { pluralize } from "./format.js";
import { PromptPicker } from "./prompt-picker.js";

const byId = (id) => document.getElementById(id);
const cards = new Map(); // by model name, in the order of selection
let activeRequest = null; // AbortController of the responses that are being generated

const promptPicker = new PromptPicker(
  { list: byId("prompts"), filter: byId("filter"), filterRow: byId("filter-row"), status: byId("list-status"), loadMore: byId("load-more") },
  renderCards,
  showLoadError,
);

/** Load the state and the first page of prompts. */
async function loadPrompts() {
  byId("prompts-problem").textContent = "";
  try {
    const [state, list] = await Promise.all([getJson("/playground/state"), promptPicker.loadFirstPage()]);
    byId("base-model-name").textContent = ` on ${state.base_model}`;
    promptPicker.setPrompts(list, state);
    setKeyState(hasKey() ? "stored" : "not-required");
  } catch (error) {
    showLoadError(error);
  }
}

/** Show why the list could not be loaded, or ask for a key if one is missing or invalid. */
function showLoadError(error) {
  if (error.status !== 401) byId("prompts-problem").textContent = escapeControls(error.message);
  else setKeyState("required", hasKey() ? "This key is not valid: it may have been revoked." : "");
}

/** Show the key's form (required), a note that it is stored, or nothing (not-required). */
function setKeyState(state, message = "") {
  byId("key-form").hidden = state !== "required";
  byId("key-stored").hidden = state !== "stored";
  byId("workspace").hidden = state === "required";
  byId("key-problem").textContent = escapeControls(message);
  if (state === "required") byId("key").focus();
}

/** Show one card for each selected prompt. */
function renderCards(selected) {
  const names = selected.map((choice) => choice.name);
  for (const name of [...cards.keys()].filter((shown) => !names.includes(shown))) {
    cards.get(name).root.remove();
    cards.delete(name);
  }
  for (const choice of selected.filter(({ name }) => !cards.has(name))) {
    const card = new AnswerCard(choice);
    cards.set(choice.name, card);
    byId("answers").append(card.root);
    card.ready.then(renderFields);
  }
  byId("empty-note").hidden = cards.size > 0;
  renderFields();
}

/** Show an input for each template field of the selected prompts, and the text input if a prompt reads the text. */
function renderFields() {
  const fieldNames = [...new Set([...cards.values()].flatMap((card) => card.templateFields))];
  const existing = new Map([...byId("fields").children].map((row) => [row.dataset.field, row]));
  byId("fields").replaceChildren(...fieldNames.map((name) => existing.get(name) ?? createField(name)));
  byId("text-row").hidden = cards.size > 0 && [...cards.values()].every((card) => card.templateFields.length);
}

function createField(name) {
  const input = createElement("textarea", { id: `field-${name}`, rows: 1 });
  const row = createElement("div", {}, createElement("label", { htmlFor: input.id }, `Field ${name}`), input);
  row.dataset.field = name;
  return row;
}

/** Return the input, or throw an error that names the element to correct. */
function readInput() {
  const fields = Object.fromEntries([...byId("fields").children].map((row) => [row.dataset.field, row.querySelector("textarea").value]));
  if (!cards.size) throw new RequestError("Choose a prompt first.");
  if (!byId("text-row").hidden && !byId("text").value.trim()) throw Object.assign(new RequestError("Type a text first."), { input: byId("text") });
  for (const id of ["tokens", "temperature"]) {
    const input = byId(id);
    if (!input.checkValidity() || input.value === "") throw Object.assign(new RequestError(`${input.labels[0].textContent}: ${describeRange(input)}.`), { input });
  }
  return { text: byId("text").value, fields, tokens: byId("tokens").valueAsNumber, temperature: byId("temperature").valueAsNumber };
}

function describeRange({ min, max, step }) {
  return `${step === "1" ? "a whole number" : "a number"} from ${min}${max ? ` to ${max}` : ""}`;
}

/** Send the input to all selected prompts at once. A new request aborts the previous one. */
async function submitAll() {
  activeRequest?.abort();
  byId("ask-problem").textContent = "";
  for (const invalid of byId("ask").querySelectorAll("[aria-invalid]")) invalid.removeAttribute("aria-invalid");
  try {
    const input = readInput();
    const controller = (activeRequest = new AbortController());
    setRunning(true);
    await Promise.all([...cards.values()].map((card) => card.ready));
    const results = await Promise.all([...cards.values()].map((card) => card.run(input, controller.signal)));
    if (controller !== activeRequest) return; // a newer request has replaced this one
    setRunning(false);
    await announceResults(results);
  } catch (error) {
    byId("ask-problem").textContent = escapeControls(error.message);
    error.input?.setAttribute("aria-invalid", "true");
    error.input?.focus();
  }
}

function setRunning(isRunning) {
  if (!isRunning && document.activeElement === byId("stop")) byId("text").focus();
  byId("stop").hidden = !isRunning;
  if (isRunning) byId("status").textContent = `${pluralize(cards.size, "prompt")} asked`;
}

/** Announce the outcome to screen readers, and refresh the usage counts. */
async function announceResults(results) {
  const numAnswered = results.filter((result) => result === "answered").length;
  byId("status").textContent = `${numAnswered} of ${results.length} answered`;
  if (results.some((result) => result.status === 401)) return loadPrompts();
  promptPicker.updateUsage((await getJson("/playground/state")).usage);
}

byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  submitAll();
});
byId("ask").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) submitAll();
});
byId("stop").addEventListener("click", () => activeRequest?.abort());
byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const key = byId("key").value.trim();
  byId("key").value = "";
  if (key) setApiKey(key);
  loadPrompts();
});
byId("forget-key").addEventListener("click", () => {
  activeRequest?.abort();
  setApiKey(null);
  promptPicker.setPrompts({ data: [], has_more: false }, { base_model: "", has_chat_template: false, usage: {} });
  loadPrompts();
});

loadPrompts();
