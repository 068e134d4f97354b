// What a run told while it trained, evaluation by evaluation: a slider along its course.
// @ts-check

import { element } from "./look.js";

/**
 * Begin to show in `root`; nothing is shown before the first stories come.
 * @param {HTMLElement} root
 * @param {() => void} moved hears that another step is shown
 */
export function showTold(root, moved) {
  /** @type {import("./api.js").Sample[]} */
  let all = [];
  const slider = /** @type {HTMLInputElement} */ (element("input", { id: "told", type: "range", min: "0", step: "1" }));
  const label = element("label", { for: "told" });
  const stories = element("div", { class: "told-stories" });
  root.replaceChildren();

  function draw() {
    const { step, tokens, stories: told } = all[Number(slider.value)];
    const place = `After step ${step.toLocaleString("en")}, ${tokens.toLocaleString("en")} tokens seen`;
    label.textContent = place;
    slider.setAttribute("aria-valuetext", place);
    const one = (/** @type {{prompt: string, text: string}} */ story) =>
      element("article", { class: "story" }, element("span", { class: "given" }, story.prompt), story.text);
    stories.replaceChildren(...told.map(one));
  }

  slider.addEventListener("input", () => {
    draw();
    moved();
  });
  return {
    /** The step whose stories are shown. */
    step: () => all[Number(slider.value)]?.step,
    /**
     * Add what has come since. Whoever looks at the newest goes on to do so.
     * @param {import("./api.js").Sample[]} more
     */
    add(more) {
      if (!more.length) return;
      const newest = Number(slider.value) === all.length - 1 || !all.length;
      all = all.concat(more);
      slider.max = String(all.length - 1);
      if (newest) slider.value = slider.max;
      if (!root.hasChildNodes()) root.append(element("h2", {}, "What it told on the way"), label, slider, stories);
      draw();
    },
  };
}
