// Training: the curves of a run as they grow, and what it told on the way.
// @ts-check

import { metrics, samples } from "./api.js";
import { element } from "./look.js";
import { modelPicker } from "./parts.js";
import { showTold } from "./told.js";

const EVERY = 2000; // milliseconds between two looks at a running run
const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 900;
const HEIGHT = 360;
const EDGE = { left: 56, right: 16, top: 16, bottom: 40 };

/**
 * @param {HTMLElement} root
 * @param {import("./app.js").Page} page
 * @param {URLSearchParams} settings
 */
export function showTraining(root, page, settings) {
  const runs = page.models.filter((one) => one.run);
  if (!runs.length) {
    root.append(element("p", {}, "No run is served here: give `tinytale serve` a run folder, and its curves appear."));
    return;
  }
  const run = modelPicker(runs, "run", settings.get("model"));
  const figure = element("figure", { class: "curves" });
  const told = element("section", { class: "told", "aria-label": "What it told on the way" });
  root.append(element("div", { class: "buttons" }, element("label", { for: "run" }, "Run"), run), figure, told);

  let stopped = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  /** @type {import("./api.js").Metric[]} */
  let all = [];
  /** @type {ReturnType<typeof showTold>} */
  let shown;

  function draw() {
    if (all.length) figure.replaceChildren(chart(all, shown.step()), element("figcaption", { class: "quiet" }, summary(all)));
  }

  async function follow() {
    const name = run.value;
    try {
      const [curve, stories] = await Promise.all([metrics(name, all.length), samples(name, shown.count())]);
      if (stopped || name !== run.value) return;
      if (curve.next < all.length || stories.next < shown.count()) return begin(); // the run was begun anew
      all = all.concat(curve.metrics);
      shown.add(stories.samples);
      if (curve.metrics.length || stories.samples.length) draw();
      page.say("");
    } catch (error) {
      page.say(`The run cannot be read: ${error instanceof Error ? error.message : error}`);
    }
    if (!stopped) timer = setTimeout(follow, EVERY);
  }

  function begin() {
    clearTimeout(timer);
    all = [];
    figure.replaceChildren();
    shown = showTold(told, draw);
    follow();
  }
  run.addEventListener("change", begin);
  begin();
  return () => {
    stopped = true;
    clearTimeout(timer);
  };
}

/** @param {import("./api.js").Metric[]} all */
function summary(all) {
  const steps = all.filter((one) => typeof one.loss === "number");
  const dev = all.filter((one) => typeof one.dev_bits_per_byte === "number");
  const last = steps.at(-1);
  const parts = last ? [`step ${last.step.toLocaleString("en")}, loss ${last.loss?.toFixed(3)}`] : [];
  const best = dev.reduce((low, one) => Math.min(low, one.dev_bits_per_byte ?? Infinity), Infinity);
  if (dev.length) parts.push(`best dev score ${best.toFixed(4)} bits per byte`);
  return parts.join("; ");
}

/**
 * Loss of the training steps (faint, and smoothed) and of the dev split, over steps.
 * @param {import("./api.js").Metric[]} all
 * @param {number | undefined} mark the step whose stories are shown
 */
function chart(all, mark) {
  const steps = all.flatMap((one) => (typeof one.loss === "number" ? [[one.step, one.loss]] : []));
  const dev = all.flatMap((one) => (typeof one.dev_loss === "number" ? [[one.step, one.dev_loss]] : []));
  const values = [...steps.slice(Math.floor(steps.length / 10)), ...dev].map(([, loss]) => loss);
  const low = Math.min(...values, Infinity);
  const high = Math.max(...values, -Infinity);
  const last = Math.max(1, ...steps.slice(-1).map(([step]) => step), ...dev.slice(-1).map(([step]) => step));
  const x = (/** @type {number} */ step) => EDGE.left + (step / last) * (WIDTH - EDGE.left - EDGE.right);
  const y = (/** @type {number} */ loss) =>
    EDGE.top + (1 - (Math.min(high, loss) - low) / (high - low || 1)) * (HEIGHT - EDGE.top - EDGE.bottom);
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": summary(all) });
  for (let line = 0; line <= 4; line++) {
    const loss = low + ((high - low) * line) / 4;
    picture.append(
      svg("line", { class: "grid", x1: EDGE.left, x2: WIDTH - EDGE.right, y1: y(loss), y2: y(loss) }),
      svg("text", { x: EDGE.left - 8, y: y(loss) + 4, "text-anchor": "end" }, loss.toFixed(2)),
    );
    const step = Math.round((last * line) / 4);
    const anchor = line === 4 ? "end" : "middle";
    picture.append(svg("text", { x: x(step), y: HEIGHT - 16, "text-anchor": anchor }, step.toLocaleString("en")));
  }
  const path = (/** @type {number[][]} */ points) => points.map(([step, loss]) => `${x(step).toFixed(1)},${y(loss).toFixed(1)}`).join(" ");
  if (mark !== undefined) picture.append(svg("line", { class: "mark", x1: x(mark), x2: x(mark), y1: EDGE.top, y2: HEIGHT - EDGE.bottom }));
  picture.append(
    svg("polyline", { class: "faint", points: path(thinned(steps)) }),
    svg("polyline", { class: "smooth", points: path(thinned(smoothed(steps))) }),
    svg("polyline", { class: "dev", points: path(dev) }),
    ...dev.map(([step, loss]) => svg("circle", { class: "dev", cx: x(step), cy: y(loss), r: 4 })),
    svg("text", { class: "smooth", x: WIDTH - EDGE.right, y: EDGE.top + 12, "text-anchor": "end" }, "training loss, nats a token"),
    svg("text", { class: "dev", x: WIDTH - EDGE.right, y: EDGE.top + 30, "text-anchor": "end" }, "dev loss"),
  );
  return picture;
}

/**
 * @param {string} name
 * @param {Record<string, string | number>} attributes
 * @param {...string} children
 */
function svg(name, attributes, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  made.append(...children);
  return made;
}

/**
 * A moving average over a fiftieth of the points.
 * @param {number[][]} points
 */
function smoothed(points) {
  const decay = 1 - 1 / Math.max(1, points.length / 50);
  let sum = 0;
  let weight = 0;
  return points.map(([step, loss]) => {
    sum = decay * sum + loss;
    weight = decay * weight + 1;
    return [step, sum / weight];
  });
}

/**
 * At most some 900 of the points: more cannot be seen.
 * @param {number[][]} points
 */
function thinned(points) {
  const every = Math.ceil(points.length / WIDTH) || 1;
  return points.filter((_, place) => place % every === 0);
}
