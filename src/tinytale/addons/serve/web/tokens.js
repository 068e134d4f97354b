// Tokens: any text, split as the model's tokenizer splits it.
// @ts-check

import { split } from "./api.js";
import { element, picker, visible } from "./look.js";
import { message, modelPicker } from "./parts.js";

const TEXT = "Tom’s café has 12 éclairs and 1,000 cakes!\n\n\tUnbelievable: ♥ costs three tokens.";
const PAUSE = 200; // milliseconds of rest in typing before the text is split

/**
 * @param {HTMLElement} root
 * @param {import("./app.js").Page} page
 * @param {URLSearchParams} settings
 */
export function showTokens(root, page, settings) {
  const model = modelPicker(page.models, "model", settings.get("model"));
  const text = /** @type {HTMLTextAreaElement} */ (element("textarea", { id: "text", rows: "4", spellcheck: "false" }));
  text.value = settings.get("text") ?? TEXT;
  const counts = element("p", { class: "counts", "aria-live": "polite" });
  const list = element("ol", { class: "tokens", "aria-label": "Tokens" });
  const below = element("div");
  const state = { bytes: 0 };
  /** @type {import("./api.js").Split | undefined} */
  let shown;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  let asked = 0;

  function draw() {
    below.replaceChildren(
      picker("Below each token", ["number", "bytes"], state.bytes, (choice) => ((state.bytes = choice), draw())),
    );
    if (!shown) return;
    counts.replaceChildren(...figures(shown));
    list.replaceChildren(...shown.tokens.map((token) => chip(token, state.bytes === 1)));
  }

  async function read() {
    const mine = ++asked;
    try {
      const answer = await split(model.value, text.value);
      if (mine !== asked) return;
      shown = answer;
      draw();
    } catch (error) {
      if (mine !== asked) return;
      counts.replaceChildren(message(error));
      list.replaceChildren();
    }
    history.replaceState(null, "", `#tokens?${new URLSearchParams({ model: model.value, text: text.value })}`);
  }

  text.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(read, PAUSE);
  });
  model.addEventListener("change", read);
  root.append(
    element("label", { for: "text" }, "Any text"),
    text,
    element("div", { class: "buttons" }, element("label", { for: "model" }, "Tokenizer of"), model, below),
    counts,
    list,
    element("p", { class: "quiet" }, "A character that takes several tokens is shown as their bytes, underlined in the other colour."),
  );
  draw();
  read();
  return () => {
    asked = -1;
    clearTimeout(timer);
  };
}

/** @param {import("./api.js").Split} split */
function figures({ tokens, bytes, characters, vocabulary }) {
  const different = new Set(tokens.map((token) => token.id)).size;
  const parts = [
    [tokens.length, "tokens"],
    [different, `different ones of ${vocabulary.toLocaleString("en")}`],
    [bytes, "bytes"],
    [characters, "characters"],
    [tokens.length ? (bytes / tokens.length).toFixed(2) : "–", "bytes a token"],
  ];
  return parts.map(([figure, name]) => element("span", {}, element("b", {}, figure.toLocaleString("en")), ` ${name}`));
}

/**
 * @param {import("./api.js").Split["tokens"][number]} token
 * @param {boolean} bytes whether to show its bytes, or else its number
 */
function chip(token, bytes) {
  const length = (token.bytes.length + 1) / 3;
  const part = token.text.length === 4 * length && token.text.startsWith("\\x"); // bytes that are no character alone
  const made = element("li", part ? { class: "part", title: "a part of a character" } : {});
  made.append(element("code", {}, visible(token.text)), element("small", {}, bytes ? token.bytes : String(token.id)));
  return made;
}
