// Client of the server's API. The key is stored in the tab's own storage and sent in a header, nowhere else.

const KEY_STORAGE_NAME = "softprompt-key";
let apiKey = readStoredKey();

function readStoredKey() {
  try {
    return sessionStorage.getItem(KEY_STORAGE_NAME);
  } catch {
    return null; // storage is disabled: the key lives as long as this page
  }
}

export function hasKey() {
  return apiKey !== null;
}

/** Use another key from now on; null for no key. */
export function setApiKey(key) {
  apiKey = key;
  try {
    if (key === null) sessionStorage.removeItem(KEY_STORAGE_NAME);
    else sessionStorage.setItem(KEY_STORAGE_NAME, key);
  } catch {
    // the key is used without being stored
  }
}

/** A request that the server rejected, or that did not reach it. */
export class RequestError extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

/** Send a GET request and return its JSON. */
export async function getJson(path) {
  return (await sendRequest(path, {})).json();
}

/** Send a POST request with a JSON body and return the response. */
export async function postJson(path, body, signal) {
  const headers = { "content-type": "application/json" };
  return sendRequest(path, { method: "POST", headers, body: JSON.stringify(body), signal });
}

async function sendRequest(path, options) {
  const headers = { ...options.headers, ...(apiKey === null ? {} : { authorization: `Bearer ${apiKey}` }) };
  let response;
  try {
    response = await fetch(path, { ...options, headers, cache: "no-store", credentials: "omit", redirect: "error" });
  } catch (error) {
    throw toNetworkError(error);
  }
  if (!response.ok) throw await errorFromResponse(response);
  return response;
}

async function errorFromResponse(response) {
  const body = await response.json().catch(() => ({}));
  const message = body.error?.message ?? `The server responded with status ${response.status}.`;
  const retryAfter = response.status === 429 ? response.headers.get("retry-after") : null;
  return new RequestError(retryAfter ? `${message} Try again in ${retryAfter} s.` : message, response.status);
}

/** Yield the parsed events of a stream until [DONE]. */
export async function* readEvents(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) {
        if (!line.startsWith("data: ")) continue;
        const data = line.slice(6);
        if (data === "[DONE]") return;
        const event = JSON.parse(data);
        if (event.error) throw new RequestError(event.error.message);
        yield event;
      }
    }
  } catch (error) {
    throw error instanceof RequestError ? error : toNetworkError(error);
  } finally {
    reader.cancel().catch(() => {});
  }
  throw new RequestError("The response ended early: the server closed the connection.");
}

function toNetworkError(error) {
  return error.name === "AbortError" ? error : new RequestError("The server cannot be reached.");
}
