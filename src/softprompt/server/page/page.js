// The page: what is chosen, what is typed, and everybody's answer to it.

import { hasKey, Problem, tell, useKey } from "./api.js";
import { Card } from "./answers.js";
import { element, many, shown } from "./elements.js";
import { Prompts } from "./prompts.js";

const at = (id) => document.getElementById(id);
const cards = new Map(); // by the name that is asked for, in the order in which they were chosen
let running = null; // what ends the answers that are being written

const prompts = new Prompts(
  { list: at("prompts"), filter: at("filter"), filterRow: at("filter-row"), more: at("more"), loadMore: at("load-more") },
  show,
  (problem) => failed(problem),
);

/** Read what there is. */
async function load() {
  at("prompts-problem").textContent = "";
  try {
    const [state, list] = await Promise.all([tell("/page/state"), prompts.first()]);
    at("base").textContent = ` on ${state.base}`;
    prompts.show(list, state);
    keyIs(hasKey() ? "kept" : "needless");
  } catch (problem) {
    failed(problem);
  }
}

/** Say why there is no list; ask for a key, if that is why. */
function failed(problem) {
  if (problem.status !== 401) at("prompts-problem").textContent = shown(problem.message);
  else keyIs("wanted", hasKey() ? "This key is not valid: it may have been revoked." : "");
}

/** What is shown of the key: a field for it, that it is kept, or nothing. */
function keyIs(state, problem = "") {
  at("key-form").hidden = state !== "wanted";
  at("key-kept").hidden = state !== "kept";
  at("place").hidden = state === "wanted";
  at("key-problem").textContent = shown(problem);
  if (state === "wanted") at("key").focus();
}

/** A card for each that is chosen. */
function show(chosen) {
  const names = chosen.map((choice) => choice.name);
  for (const name of [...cards.keys()].filter((each) => !names.includes(each))) {
    cards.get(name).root.remove();
    cards.delete(name);
  }
  for (const choice of chosen.filter(({ name }) => !cards.has(name))) {
    const card = new Card(choice);
    cards.set(choice.name, card);
    at("answers").append(card.root);
    card.known.then(showFields);
  }
  at("none").hidden = cards.size > 0;
  showFields();
}

/** A field for each that a chosen prompt's template has, and the text where one reads just that. */
function showFields() {
  const wanted = [...new Set([...cards.values()].flatMap((card) => card.fields))];
  const there = new Map([...at("fields").children].map((row) => [row.dataset.field, row]));
  at("fields").replaceChildren(...wanted.map((name) => there.get(name) ?? field(name)));
  at("text-row").hidden = cards.size > 0 && [...cards.values()].every((card) => card.fields.length);
}

function field(name) {
  const input = element("textarea", { id: `field-${name}`, rows: 1 });
  const row = element("div", {}, element("label", { htmlFor: input.id }, `Field ${name}`), input);
  row.dataset.field = name;
  return row;
}

/** What was typed; a problem if it cannot be asked. */
function typed() {
  const fields = Object.fromEntries([...at("fields").children].map((row) => [row.dataset.field, row.querySelector("textarea").value]));
  if (!cards.size) throw new Problem("Choose a prompt first.");
  if (!at("text-row").hidden && !at("text").value.trim()) throw Object.assign(new Problem("Type a text first."), { where: at("text") });
  for (const id of ["tokens", "temperature"]) {
    if (!at(id).checkValidity() || at(id).value === "") throw Object.assign(new Problem(`${at(id).labels[0].textContent}: ${limits(at(id))}.`), { where: at(id) });
  }
  return { text: at("text").value, fields, tokens: at("tokens").valueAsNumber, temperature: at("temperature").valueAsNumber };
}

function limits({ min, max, step }) {
  return `${step === "1" ? "a whole number" : "a number"} from ${min}${max ? ` to ${max}` : ""}`;
}

/** Ask all at once. Who asks again before the end, ends what was. */
async function ask() {
  running?.abort();
  at("ask-problem").textContent = "";
  for (const input of at("ask").querySelectorAll("[aria-invalid]")) input.removeAttribute("aria-invalid");
  try {
    const asked = typed();
    const mine = (running = new AbortController());
    isRunning(true);
    await Promise.all([...cards.values()].map((card) => card.known));
    const ends = await Promise.all([...cards.values()].map((card) => card.ask(asked, mine.signal)));
    if (mine !== running) return; // asked again meanwhile
    isRunning(false);
    await told(ends);
  } catch (problem) {
    at("ask-problem").textContent = shown(problem.message);
    problem.where?.setAttribute("aria-invalid", "true");
    problem.where?.focus();
  }
}

function isRunning(is) {
  if (!is && document.activeElement === at("stop")) at("text").focus();
  at("stop").hidden = !is;
  if (is) at("status").textContent = `${many(cards.size, "prompt")} asked`;
}

/** Say how it went to those who do not see it, and what is counted now to those who do. */
async function told(ends) {
  const answered = ends.filter((end) => end === "answered").length;
  at("status").textContent = `${answered} of ${ends.length} answered`;
  if (ends.some((end) => end.status === 401)) return load();
  prompts.tell((await tell("/page/state")).used);
}

at("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  ask();
});
at("ask").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) ask();
});
at("stop").addEventListener("click", () => running?.abort());
at("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = at("key").value.trim();
  at("key").value = "";
  if (text) useKey(text);
  load();
});
at("forget").addEventListener("click", () => {
  running?.abort();
  useKey(null);
  prompts.show({ data: [], has_more: false }, { base: "", chats: false, used: {} });
  load();
});

load();
