// The answers: a card for each that was chosen, in which it writes, tells a label, or says what went wrong.

import { events, post, Problem, tell } from "./api.js";
import { duration, element, figure, many, percent, shown } from "./elements.js";

const LABELS = 8; // that have a bar; the others are told together

export class Card {
  /** @param choice what it is of, as the list has it. */
  constructor(choice) {
    this.choice = choice;
    this.state = element("p", { class: "state" }, "");
    this.body = element("div", { class: "answer", "aria-live": "polite", "aria-busy": "false" });
    this.problem = element("p", { class: "problem", role: "alert" });
    this.facts = element("p", { class: "note" });
    const title = element("h3", { id: `card-${choice.name}` }, choice.name);
    this.root = element("article", { "aria-labelledby": title.id }, element("header", {}, title, this.state), this.body, this.problem, this.facts);
    this.details = null;
    this.signal = null;
    this.known = choice.isBase ? Promise.resolve(this.aboutBase()) : this.about();
  }

  aboutBase() {
    this.details = { task: this.choice.task, fields: [] };
    this.facts.textContent = "The base model, without a prompt.";
  }

  /** What the prompt says about itself. */
  async about() {
    try {
      this.details = await tell(`/page/prompts/${encodeURIComponent(this.choice.version)}`);
      this.facts.textContent = shown(aboutWords(this.details));
    } catch (problem) {
      this.fail(problem);
    }
  }

  /** The fields that its template needs, where one text does not fill it. */
  get fields() {
    return this.details && this.details.fields.length > 1 ? this.details.fields : [];
  }

  /**
   * Have it answer.
   * @param asked text, fields, tokens, temperature.
   * @returns how it went: "answered", "stopped" or the problem.
   */
  async ask(asked, signal) {
    this.signal = signal;
    this.body.replaceChildren();
    this.problem.textContent = "";
    this.isBusy(true);
    this.state.textContent = "waits";
    try {
      await (this.details?.task === "classification" ? this.classify(asked, signal) : this.write(asked, signal));
      return "answered";
    } catch (error) {
      if (signal !== this.signal) return "stopped"; // it was asked again meanwhile
      if (error.name !== "AbortError") {
        this.fail(error);
        return error;
      }
      this.state.textContent = "stopped";
      return "stopped";
    } finally {
      if (signal === this.signal) this.isBusy(false);
    }
  }

  /** Whoever listens to the page hears an answer when it is whole. */
  isBusy(is) {
    for (const each of [this.root, this.body]) each.setAttribute("aria-busy", String(is));
  }

  fail(error) {
    if (!(error instanceof Problem)) console.error(error);
    this.state.textContent = "failed";
    this.problem.textContent = shown(error.message);
  }

  chosenFields(asked) {
    return Object.fromEntries(this.fields.map((name) => [name, asked.fields[name]]));
  }

  async classify(asked, signal) {
    const began = performance.now();
    const input = this.fields.length ? [this.chosenFields(asked)] : asked.text;
    const answer = await (await post("/v1/classify", { model: this.choice.name, input }, signal)).json();
    const [{ label, probabilities }] = answer.data;
    this.body.replaceChildren(element("p", { class: "label" }, label), bars(probabilities));
    this.state.textContent = `${answer.model} · ${duration((performance.now() - began) / 1000)}`;
  }

  async write(asked, signal) {
    const written = element("p", { class: "text" });
    const clock = new Clock();
    let reason = null;
    const body = { model: this.choice.name, max_tokens: asked.tokens, temperature: asked.temperature, stream: true, stream_options: { include_usage: true } };
    const response = await post(...this.place(asked, body), signal);
    this.body.replaceChildren(written);
    for await (const event of events(response)) {
      const choice = event.choices[0];
      const text = choice?.delta?.content ?? choice?.text ?? "";
      if (text) {
        clock.first();
        written.append(text); // exactly what the API says, in a block of its own, which nothing in it can leave
      }
      reason = choice?.finish_reason ?? reason;
      clock.tokens = event.usage?.completion_tokens ?? clock.tokens;
      this.state.textContent = clock.words(event.model);
    }
    if (!written.textContent) written.replaceChildren(element("span", { class: "nothing" }, "Nothing was written."));
    if (reason === "length") this.body.append(element("p", { class: "note" }, `Cut at ${many(clock.tokens, "token")}.`));
  }

  /** Where it is asked, and with which body. */
  place({ text, fields }, body) {
    if (this.details?.task === "completion") return ["/v1/completions", { ...body, prompt: text }];
    const more = this.fields.length ? { fields: this.chosenFields({ fields }) } : {};
    return ["/v1/chat/completions", { ...body, ...more, messages: [{ role: "user", content: text }] }];
  }
}

/** How long an answer takes, as this page sees it. */
class Clock {
  began = performance.now();
  tokens = null;
  waited = null;

  first() {
    this.waited ??= (performance.now() - this.began) / 1000;
  }

  words(model) {
    const words = [model];
    if (this.waited !== null) words.push(`first after ${duration(this.waited)}`);
    if (this.tokens !== null) words.push(`${many(this.tokens, "token")} in ${duration((performance.now() - this.began) / 1000)}`);
    return words.join(" · ");
  }
}

/** Each label with its probability, the most probable first. */
function bars(probabilities) {
  const sorted = Object.entries(probabilities).sort(([, one], [, other]) => other - one);
  const shown = sorted.slice(0, LABELS).map(([label, share]) => bar(label, share));
  const rest = sorted.slice(LABELS);
  if (rest.length) shown.push(bar(`${rest.length} others`, rest.reduce((sum, [, share]) => sum + share, 0)));
  return element("dl", { class: "bars" }, ...shown);
}

function bar(label, share) {
  const made = element("div", {}, element("dt", {}, label), element("dd", {}, percent(share)));
  made.style.setProperty("--share", percent(share));
  return made;
}

function aboutWords({ base, fits, method, num_virtual_tokens: tokens, task, validation }) {
  const measured = Object.entries(validation);
  const words = [`${task}, ${many(tokens, "virtual token")}, method ${method}`];
  if (measured.length) words.push(`accepted with ${measured.map(([name, value]) => `${name.replaceAll("_", " ")} ${figure(value)}`).join(", ")}`);
  words.push(fits ? `made for ${base}` : `made for ${base}, which this server does not run`);
  return words.join(" · ");
}
