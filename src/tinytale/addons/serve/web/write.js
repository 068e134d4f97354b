// Write: a prompt, a few settings, and the story as it comes; two side by side if one likes.
// @ts-check

import { write } from "./api.js";
import { element } from "./look.js";
import { button, message, modelPicker } from "./parts.js";

const EXAMPLES = [
  "Once upon a time, there was a little fox who could not sleep.",
  "Lily found a small key under the old tree.",
  "“Can I come with you?” asked the rabbit. “No,” said",
  "Ben had two apples. He gave one to Mia. Now Ben had",
  "It was raining, so Tom took his",
];

const FIELDS = {
  temperature: { label: "Temperature", min: "0.1", max: "2", step: "0.05", value: "0.6" },
  top_p: { label: "Top-p", min: "0.05", max: "1", step: "0.05", value: "1" },
  max_tokens: { label: "Max tokens", min: "1", step: "1", value: "", placeholder: "as it ends" },
  seed: { label: "Seed", min: "0", max: "999999999", step: "1", value: "0" },
};

/**
 * @param {HTMLElement} root
 * @param {import("./app.js").Page} page
 * @param {URLSearchParams} settings
 */
export function showWrite(root, page, settings) {
  const prompt = /** @type {HTMLTextAreaElement} */ (element("textarea", { id: "prompt", rows: "2", spellcheck: "false" }));
  prompt.value = settings.get("prompt") ?? EXAMPLES[0];
  const examples = element("div", { class: "examples", role: "group", "aria-label": "Examples" });
  for (const example of EXAMPLES) {
    const button = element("button", { type: "button" }, example);
    button.addEventListener("click", () => {
      prompt.value = example;
      prompt.focus();
    });
    examples.append(button);
  }
  const columns = [column(page, settings, "")];
  if (settings.has("model2")) columns.push(column(page, settings, "2"));
  const desk = element("div", { class: "desk" }, ...columns.map((one) => one.root));

  /** @type {AbortController | null} */
  let running = null;
  const start = button("Write", "primary", () => run());
  const stop = button("Stop", "", () => running?.abort());
  const again = button("Again", "", () => {
    columns.forEach((one) => one.nextSeed());
    run();
  });
  const beside = button(columns.length > 1 ? "One only" : "Side by side", "", () => go(columns.length > 1 ? null : "2"));
  const link = button("Copy link", "", () => copy(String(new URL(hash(), location.href)), "The link is copied."));
  const inside = button("Look inside", "", () => {
    const text = prompt.value + columns[0].text();
    location.hash = `#look?${new URLSearchParams({ model: columns[0].request(prompt.value).model, text })}`;
  });
  setRunning(false);

  function hash() {
    const query = new URLSearchParams({ prompt: prompt.value });
    columns.forEach((one) => one.save(query));
    return `#write?${query}`;
  }

  /** @param {string | null} second */
  function go(second) {
    const query = new URLSearchParams(hash().split("?")[1]);
    for (const name of ["model", ...Object.keys(FIELDS)]) {
      if (second) query.set(name + second, query.get(name) ?? "");
      else query.delete(`${name}2`);
    }
    location.hash = `#write?${query}`;
  }

  /** @param {boolean} on */
  function setRunning(on) {
    for (const [made, off] of /** @type {[HTMLElement, boolean][]} */ ([[start, on], [again, on], [stop, !on]])) {
      made.toggleAttribute("disabled", off);
    }
  }

  async function run() {
    running = new AbortController();
    const { signal } = running;
    history.replaceState(null, "", hash());
    setRunning(true);
    stop.focus();
    page.say("Writing…");
    const endings = await Promise.all(columns.map((one) => one.tell(prompt.value, signal)));
    page.say([...new Set(endings)].join(" ").trim());
    setRunning(false);
    if (document.activeElement === document.body || document.activeElement === stop) again.focus();
    running = null;
  }

  /** @param {string} text @param {string} done */
  async function copy(text, done) {
    try {
      await navigator.clipboard.writeText(text);
      page.say(done);
    } catch {
      page.say("The browser does not let this page copy: select the text, and copy it yourself."); // as from another host
    }
  }

  columns.forEach((one) => one.onCopy(() => copy(prompt.value + one.text(), "The story is copied.")));
  root.append(
    element("label", { for: "prompt" }, "How the story begins"),
    prompt,
    examples,
    element("div", { class: "buttons" }, start, stop, again, beside, link, inside),
    desk,
  );
  return () => running?.abort();
}

/**
 * One model with its settings and its story. `mark` tells the settings of the second from those of the first.
 * @param {import("./app.js").Page} page
 * @param {URLSearchParams} settings
 * @param {string} mark
 */
function column(page, settings, mark) {
  const model = modelPicker(page.models, `model${mark}`, settings.get(`model${mark}`));
  const inputs = Object.entries(FIELDS).map(([name, { label, value, ...limits }]) => {
    const id = name + mark;
    const input = /** @type {HTMLInputElement} */ (element("input", { id, type: "number", ...limits }));
    input.value = settings.get(id) ?? value;
    return { name, input, label: element("label", { for: id }, label) };
  });
  const filled = () => inputs.filter(({ input }) => input.value !== "");
  const numbers = () => Object.fromEntries(filled().map(({ name, input }) => [name, Number(input.value)]));
  const story = element("article", { class: "story", "aria-label": "The story" });
  const speed = element("p", { class: "quiet" });
  const copy = button("Copy", "", () => {});
  let told = "";
  return {
    root: element(
      "section",
      { class: "column", "aria-label": mark ? "Second story" : "Story" },
      element(
        "div",
        { class: "settings" },
        element("div", {}, element("label", { for: `model${mark}` }, "Model"), model),
        ...inputs.map(({ label, input }) => element("div", {}, label, input)),
      ),
      story,
      element("div", { class: "below" }, speed, copy),
    ),
    text: () => told,
    nextSeed: () => inputs.forEach(({ name, input }) => name === "seed" && (input.value = String(Number(input.value) + 1))),
    /** @param {string} prompt */
    request: (prompt) => /** @type {import("./api.js").Request} */ ({ model: model.value, prompt, ...numbers() }),
    /** @param {URLSearchParams} query */
    save(query) {
      query.set(`model${mark}`, model.value);
      for (const { name, input } of inputs) query.set(name + mark, input.value);
    },
    /** @param {() => void} act */
    onCopy: (act) => copy.addEventListener("click", act),
    /**
     * Tell the story; what is to be said at its end.
     * @param {string} prompt
     * @param {AbortSignal} signal
     */
    async tell(prompt, signal) {
      const given = element("span", { class: "given" }, prompt);
      const text = document.createTextNode("");
      story.replaceChildren(given, text);
      story.setAttribute("aria-busy", "true");
      told = "";
      const started = performance.now();
      try {
        for await (const piece of write(this.request(prompt), signal)) {
          told += piece.text;
          text.data = told;
          const seconds = (performance.now() - started) / 1000;
          speed.textContent = `${piece.tokens} tokens, ${(piece.tokens / seconds).toFixed(0)} tokens/s`;
        }
        return "The story is told.";
      } catch (error) {
        if (signal.aborted) return "Stopped.";
        story.append(message(error));
        return "";
      } finally {
        story.removeAttribute("aria-busy");
      }
    },
  };
}
