// The card of a selected prompt: shows its generated text, its label, or its error.

import { getJson, postJson, readEvents, RequestError } from "./api.js";
import { createElement, escapeControls } from "./dom.js";
import { formatDuration, formatNumber, formatPercent, pluralize } from "./format.js";

const MAX_LABELS = 8; // labels that have a bar of their own; the others are summed up in one

export class AnswerCard {
  /** @param choice entry of the prompt list that the card belongs to. */
  constructor(choice) {
    this.choice = choice;
    this.statusElement = createElement("p", { class: "state" }, "");
    this.outputElement = createElement("div", { class: "answer", "aria-live": "polite", "aria-busy": "false" });
    this.errorElement = createElement("p", { class: "problem", role: "alert" });
    this.detailsElement = createElement("p", { class: "note" });
    const title = createElement("h3", { id: `card-${choice.name}` }, choice.name);
    const header = createElement("header", {}, title, this.statusElement);
    this.root = createElement("article", { "aria-labelledby": title.id }, header, this.outputElement, this.errorElement, this.detailsElement);
    this.promptDetails = null;
    this.signal = null;
    this.ready = choice.isBase ? Promise.resolve(this.showBaseModel()) : this.loadDetails();
  }

  showBaseModel() {
    this.promptDetails = { task: this.choice.task, fields: [] };
    this.detailsElement.textContent = "The base model, without a prompt.";
  }

  /** Load and show the details of the prompt. */
  async loadDetails() {
    try {
      this.promptDetails = await getJson(`/playground/prompts/${encodeURIComponent(this.choice.version)}`);
      this.detailsElement.textContent = escapeControls(describePrompt(this.promptDetails));
    } catch (error) {
      this.showError(error);
    }
  }

  /** The fields of the prompt's template, if there are several; a single field is filled by the text. */
  get templateFields() {
    return this.promptDetails && this.promptDetails.fields.length > 1 ? this.promptDetails.fields : [];
  }

  /**
   * Send the input to the prompt and show the response.
   * @param input text, fields, tokens, temperature.
   * @returns "answered", "stopped", or the error.
   */
  async run(input, signal) {
    this.signal = signal;
    this.outputElement.replaceChildren();
    this.errorElement.textContent = "";
    this.setBusy(true);
    this.statusElement.textContent = "waiting";
    try {
      await (this.promptDetails?.task === "classification" ? this.classify(input, signal) : this.generate(input, signal));
      return "answered";
    } catch (error) {
      if (signal !== this.signal) return "stopped"; // a newer request has replaced this one
      if (error.name !== "AbortError") {
        this.showError(error);
        return error;
      }
      this.statusElement.textContent = "stopped";
      return "stopped";
    } finally {
      if (signal === this.signal) this.setBusy(false);
    }
  }

  /** Screen readers announce a response once it is complete. */
  setBusy(isBusy) {
    for (const element of [this.root, this.outputElement]) element.setAttribute("aria-busy", String(isBusy));
  }

  showError(error) {
    if (!(error instanceof RequestError)) console.error(error);
    this.statusElement.textContent = "failed";
    this.errorElement.textContent = escapeControls(error.message);
  }

  pickFields(fields) {
    return Object.fromEntries(this.templateFields.map((name) => [name, fields[name]]));
  }

  async classify({ text, fields }, signal) {
    const startedAt = performance.now();
    const input = this.templateFields.length ? [this.pickFields(fields)] : text;
    const response = await (await postJson("/v1/classify", { model: this.choice.name, input }, signal)).json();
    const [{ label, probabilities }] = response.data;
    this.outputElement.replaceChildren(createElement("p", { class: "label" }, label), renderProbabilities(probabilities));
    this.statusElement.textContent = `${response.model} · ${formatDuration((performance.now() - startedAt) / 1000)}`;
  }

  async generate(input, signal) {
    const output = createElement("p", { class: "text" });
    const timer = new LatencyTimer();
    let finishReason = null;
    const [path, body] = this.buildRequest(input);
    const response = await postJson(path, body, signal);
    this.outputElement.replaceChildren(output);
    for await (const event of readEvents(response)) {
      const choice = event.choices[0];
      const text = choice?.delta?.content ?? choice?.text ?? "";
      if (text) {
        timer.markFirstToken();
        output.append(text); // exactly the API's text, in a block that its characters cannot leave
      }
      finishReason = choice?.finish_reason ?? finishReason;
      timer.tokens = event.usage?.completion_tokens ?? timer.tokens;
      this.statusElement.textContent = timer.format(event.model);
    }
    if (!output.textContent) output.replaceChildren(createElement("span", { class: "empty" }, "The response is empty."));
    if (finishReason === "length") this.outputElement.append(createElement("p", { class: "note" }, `Cut at ${pluralize(timer.tokens, "token")}.`));
  }

  /** Return the path and the body of a streaming request. */
  buildRequest({ text, fields, tokens, temperature }) {
    const body = { model: this.choice.name, max_tokens: tokens, temperature, stream: true, stream_options: { include_usage: true } };
    if (this.promptDetails?.task === "completion") return ["/v1/completions", { ...body, prompt: text }];
    const templateFields = this.templateFields.length ? { fields: this.pickFields(fields) } : {};
    return ["/v1/chat/completions", { ...body, ...templateFields, messages: [{ role: "user", content: text }] }];
  }
}

/** The latency of a response, as this page measures it. */
class LatencyTimer {
  startedAt = performance.now();
  tokens = null;
  timeToFirstToken = null;

  markFirstToken() {
    this.timeToFirstToken ??= (performance.now() - this.startedAt) / 1000;
  }

  format(model) {
    const parts = [model];
    if (this.timeToFirstToken !== null) parts.push(`first token after ${formatDuration(this.timeToFirstToken)}`);
    if (this.tokens !== null) parts.push(`${pluralize(this.tokens, "token")} in ${formatDuration((performance.now() - this.startedAt) / 1000)}`);
    return parts.join(" · ");
  }
}

/** Render labels with their probabilities, the most probable first. */
function renderProbabilities(probabilities) {
  const sorted = Object.entries(probabilities).sort(([, one], [, other]) => other - one);
  const rows = sorted.slice(0, MAX_LABELS).map(([label, share]) => renderProbability(label, share));
  const rest = sorted.slice(MAX_LABELS);
  if (rest.length) rows.push(renderProbability(`${rest.length} others`, rest.reduce((sum, [, share]) => sum + share, 0)));
  return createElement("dl", { class: "probabilities" }, ...rows);
}

function renderProbability(label, share) {
  const row = createElement("div", {}, createElement("dt", {}, label), createElement("dd", {}, formatPercent(share)));
  row.style.setProperty("--share", formatPercent(share));
  return row;
}

function describePrompt({ base_model: baseModel, is_compatible: isCompatible, method, num_virtual_tokens: tokens, task, validation_metrics: metrics }) {
  const values = Object.entries(metrics).map(([name, value]) => `${name.replaceAll("_", " ")} ${formatNumber(value)}`);
  const parts = [`${task}, ${pluralize(tokens, "virtual token")}, method ${method}`];
  if (values.length) parts.push(`validation ${values.join(", ")}`);
  parts.push(isCompatible ? `base model ${baseModel}` : `base model ${baseModel}, which this server does not run`);
  return parts.join(" · ");
}
