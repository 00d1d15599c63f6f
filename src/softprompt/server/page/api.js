// The server, asked as any client asks it. The key is kept in the tab's own storage and sent in a header, nowhere else.

const PLACE = "softprompt-key";
let key = stored();

function stored() {
  try {
    return sessionStorage.getItem(PLACE);
  } catch {
    return null; // the browser keeps nothing for pages: the key lives as long as this one
  }
}

export function hasKey() {
  return key !== null;
}

/** Use another key from now on; null for none. */
export function useKey(text) {
  key = text;
  try {
    if (text === null) sessionStorage.removeItem(PLACE);
    else sessionStorage.setItem(PLACE, text);
  } catch {
    // it is used all the same
  }
}

/** Something that the server refused, or that kept it from answering. */
export class Problem extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

/** What the server tells about a place. */
export async function tell(path) {
  return (await request(path, {})).json();
}

/** The answer to a body. */
export async function post(path, body, signal) {
  const headers = { "content-type": "application/json" };
  return request(path, { method: "POST", headers, body: JSON.stringify(body), signal });
}

async function request(path, options) {
  const headers = { ...options.headers, ...(key === null ? {} : { authorization: `Bearer ${key}` }) };
  let response;
  try {
    response = await fetch(path, { ...options, headers, cache: "no-store", credentials: "omit", redirect: "error" });
  } catch (error) {
    throw reached(error);
  }
  if (!response.ok) throw await refused(response);
  return response;
}

async function refused(response) {
  const body = await response.json().catch(() => ({}));
  const said = body.error?.message ?? `The server answered with status ${response.status}.`;
  const wait = response.status === 429 ? response.headers.get("retry-after") : null;
  return new Problem(wait ? `${said} Try again in ${wait} s.` : said, response.status);
}

/** The events of a stream, each as what its JSON says, until [DONE]. */
export async function* events(response) {
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
        if (event.error) throw new Problem(event.error.message);
        yield event;
      }
    }
  } catch (error) {
    throw error instanceof Problem ? error : reached(error);
  } finally {
    reader.cancel().catch(() => {});
  }
  throw new Problem("The answer broke off: the server went away.");
}

function reached(error) {
  return error.name === "AbortError" ? error : new Problem("The server cannot be reached.");
}
