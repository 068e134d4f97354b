// Look inside: choose a model and a text, and see what the model made of it.
// @ts-check

import { look } from "./api.js";
import { element, showLook } from "./look.js";
import { message, modelPicker } from "./parts.js";

const TEXT = "Once upon a time, there was a little girl named Lily. She lost her red ball, and she was very sad.";

/**
 * @param {HTMLElement} root
 * @param {import("./app.js").Page} page
 * @param {URLSearchParams} settings
 */
export function showInside(root, page, settings) {
  const model = modelPicker(page.models, "model", settings.get("model"));
  const text = /** @type {HTMLTextAreaElement} */ (element("textarea", { id: "text", rows: "4", spellcheck: "false" }));
  text.value = settings.get("text") ?? TEXT;
  const start = element("button", { type: "submit", class: "primary" }, "Look inside");
  const seen = element("div");
  const form = element(
    "form",
    {},
    element("label", { for: "text" }, "A text for the model to read"),
    text,
    element("div", { class: "buttons" }, element("label", { for: "model" }, "Model"), model, start),
  );
  let asked = 0;
  async function read() {
    const mine = ++asked;
    page.say("Reading…");
    try {
      const answer = await look(model.value, text.value);
      if (mine !== asked) return;
      showLook(seen, answer);
    } catch (error) {
      if (mine !== asked) return;
      seen.replaceChildren(message(error));
    }
    page.say("");
  }
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    history.replaceState(null, "", `#look?${new URLSearchParams({ model: model.value, text: text.value })}`);
    read();
  });
  root.append(form, seen);
  read();
  return () => void (asked = -1);
}
