// What several views are made of.
// @ts-check

import { element } from "./look.js";

/**
 * A list of models to choose from.
 * @param {import("./api.js").Model[]} models
 * @param {string} id
 * @param {string | null} wanted chosen if it is there
 */
export function modelPicker(models, id, wanted) {
  const made = /** @type {HTMLSelectElement} */ (element("select", { id }));
  for (const one of models) made.append(element("option", { value: one.id }, one.id));
  if (models.some((one) => one.id === wanted)) made.value = String(wanted);
  return made;
}

/**
 * What went wrong, for a person.
 * @param {unknown} error
 */
export function message(error) {
  return element("p", { class: "error", role: "alert" }, error instanceof Error ? error.message : String(error));
}

/**
 * @param {string} text
 * @param {string} kind
 * @param {() => void} act
 */
export function button(text, kind, act) {
  const made = element("button", { type: "button", class: kind }, text);
  made.addEventListener("click", act);
  return made;
}
