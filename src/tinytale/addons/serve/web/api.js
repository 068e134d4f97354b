// What the page asks of its own server, and nothing else.
// @ts-check

/** @typedef {{id: string, context_length: number, parameters: number, run: boolean}} Model */
/** @typedef {{model: string, prompt: string, temperature: number, top_p: number, max_tokens?: number, seed: number}} Request */

/**
 * The body of an answer, or an error with what the server said.
 * @param {string} path
 * @param {RequestInit} [options]
 * @returns {Promise<Response>}
 */
async function ask(path, options) {
  const response = await fetch(path, options);
  if (response.ok) return response;
  const said = await response.json().catch(() => ({}));
  throw new Error(said?.error?.message ?? `the server answered ${response.status}`);
}

/** @returns {Promise<Model[]>} */
export async function models() {
  return (await (await ask("v1/models")).json()).data;
}

/**
 * A story as it is written, piece by piece.
 * @param {Request} request
 * @param {AbortSignal} signal
 * @returns {AsyncGenerator<{text: string, tokens: number}>}
 */
export async function* write(request, signal) {
  const counts = { include_usage: true, continuous_usage_stats: true };
  const body = JSON.stringify({ ...request, stream: true, stream_options: counts });
  const response = await ask("v1/completions", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body,
    signal,
  });
  let tokens = 0;
  for await (const data of events(/** @type {ReadableStream<Uint8Array>} */ (response.body))) {
    if (data === "[DONE]") return;
    const event = JSON.parse(data);
    if (event.error) throw new Error(event.error.message);
    tokens = event.usage?.completion_tokens ?? tokens + 1;
    yield { text: event.choices[0]?.text ?? "", tokens };
  }
}

/**
 * The data of server-sent events.
 * @param {ReadableStream<Uint8Array>} stream
 * @returns {AsyncGenerator<string>}
 */
async function* events(stream) {
  const reader = stream.getReader();
  const decoder = new TextDecoder();
  let held = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const parts = (held + decoder.decode(value, { stream: true })).split("\n\n");
      held = parts.pop() ?? "";
      for (const part of parts) if (part.startsWith("data: ")) yield part.slice(6);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/**
 * @param {string} path
 * @param {object} body
 */
async function post(path, body) {
  const options = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  return (await ask(path, options)).json();
}

/**
 * @param {string} model
 * @param {string} text
 * @returns {Promise<import("./look.js").Look>}
 */
export function look(model, text) {
  return post("api/look", { model, text });
}

/** @typedef {{tokens: {id: number, text: string, bytes: string}[], characters: number, bytes: number, vocabulary: number}} Split */

/**
 * @param {string} model
 * @param {string} text
 * @returns {Promise<Split>}
 */
export function split(model, text) {
  return post("api/tokens", { model, text });
}

/** @typedef {{step: number, loss?: number | null, dev_loss?: number | null, dev_bits_per_byte?: number | null, tokens?: number, seconds?: number}} Metric */

/**
 * The metrics of a run from a place on; ask again with `next` for what has come since.
 * @param {string} model
 * @param {number} start
 * @returns {Promise<{metrics: Metric[], next: number}>}
 */
export async function metrics(model, start) {
  return (await ask(`api/metrics?${new URLSearchParams({ model, start: String(start) })}`)).json();
}

/** @typedef {{step: number, tokens: number, stories: {prompt: string, text: string}[]}} Sample */

/**
 * What a run told while it trained, from a place on.
 * @param {string} model
 * @param {number} start
 * @returns {Promise<{samples: Sample[], next: number}>}
 */
export async function samples(model, start) {
  return (await ask(`api/samples?${new URLSearchParams({ model, start: String(start) })}`)).json();
}
