// The page: which view is shown, and what the views share.
// @ts-check

import { models } from "./api.js";
import { element } from "./look.js";
import { showInside } from "./inside.js";
import { showTokens } from "./tokens.js";
import { showTraining } from "./training.js";
import { showWrite } from "./write.js";

/** @typedef {{models: import("./api.js").Model[], say: (message: string) => void}} Page */

const VIEWS = { write: showWrite, look: showInside, tokens: showTokens, training: showTraining };
const main = /** @type {HTMLElement} */ (document.getElementById("main"));
const status = /** @type {HTMLElement} */ (document.getElementById("status"));
/** @type {(() => void) | void} */
let leave;

/** The view and the settings that the address names: `#write?temperature=0.8`. */
function address() {
  const [name, query] = location.hash.slice(1).split("?");
  const view = /** @type {keyof typeof VIEWS} */ (Object.hasOwn(VIEWS, name) ? name : "write");
  return { view, settings: new URLSearchParams(query) };
}

/** @param {Page} page */
function show(page) {
  const { view, settings } = address();
  leave?.();
  status.textContent = "";
  for (const link of document.querySelectorAll("nav a")) {
    if (link.getAttribute("href") === `#${view}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  main.replaceChildren();
  leave = VIEWS[view](main, page, settings);
}

// The address names a view, so the link past the navigation must not change it.
document.querySelector(".skip")?.addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});

try {
  const page = { models: await models(), say: (/** @type {string} */ message) => (status.textContent = message) };
  addEventListener("hashchange", () => show(page));
  show(page);
} catch (error) {
  main.replaceChildren(element("p", { class: "error", role: "alert" }, `The server cannot be reached: ${error}`));
}
