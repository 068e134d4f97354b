// Training: the curves of a run as they grow, and what it told on the way.
// @ts-check

import { metrics, samples } from "./api.js";
import { element } from "./look.js";
import { modelPicker } from "./parts.js";
import { showTold } from "./told.js";

const EVERY = 2000; // milliseconds between two looks at a running run
const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 340;
const EDGE = { left: 52, right: 18, top: 16, bottom: 36 };

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
  const read = { curve: 0, stories: 0 }; // how much of the run's files, as the server counts
  /** @type {ReturnType<typeof showTold>} */
  let shown;

  function draw() {
    if (!all.length) return;
    const width = Math.max(300, figure.clientWidth);
    figure.replaceChildren(legend(), chart(all, width, shown.step()), element("figcaption", { class: "quiet" }, summary(all)));
  }

  async function follow() {
    const name = run.value;
    try {
      const [curve, stories] = await Promise.all([metrics(name, read.curve), samples(name, read.stories)]);
      if (stopped || name !== run.value) return;
      if (curve.next < read.curve || stories.next < read.stories) return begin(); // the run was begun anew
      read.curve = curve.next;
      read.stories = stories.next;
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
    read.curve = read.stories = 0;
    figure.replaceChildren();
    shown = showTold(told, draw);
    follow();
  }
  run.addEventListener("change", begin);
  addEventListener("resize", draw);
  begin();
  return () => {
    stopped = true;
    removeEventListener("resize", draw);
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

function legend() {
  const entry = (/** @type {string} */ kind, /** @type {string} */ name) => element("span", { class: kind }, name);
  return element("p", { class: "legend" }, "Nats a token:", entry("smooth", "training loss"), entry("dev", "dev loss"));
}

/**
 * Loss of the training steps (faint, and smoothed) and of the dev split, over steps.
 * @param {import("./api.js").Metric[]} all
 * @param {number} width
 * @param {number | undefined} mark the step whose stories are shown
 */
function chart(all, width, mark) {
  const steps = all.flatMap((one) => (typeof one.loss === "number" ? [[one.step, one.loss]] : []));
  const dev = all.flatMap((one) => (typeof one.dev_loss === "number" ? [[one.step, one.dev_loss]] : []));
  const values = [...steps.slice(Math.floor(steps.length / 10)), ...dev].map(([, loss]) => loss);
  const [least, most] = values.reduce(([low, high], loss) => [Math.min(low, loss), Math.max(high, loss)], [Infinity, -Infinity]);
  const losses = ticks(least, most, 5);
  const last = Math.max(1, ...steps.slice(-1).map(([step]) => step), ...dev.slice(-1).map(([step]) => step));
  const [low, high] = [losses[0], losses[losses.length - 1]];
  const x = (/** @type {number} */ step) => EDGE.left + (step / last) * (width - EDGE.left - EDGE.right);
  const y = (/** @type {number} */ loss) => EDGE.top + (1 - (loss - low) / (high - low || 1)) * (HEIGHT - EDGE.top - EDGE.bottom);
  const picture = svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": summary(all) });
  const decimals = losses.some((loss) => Math.abs(loss * 10 - Math.round(loss * 10)) > 1e-6) ? 2 : 1;
  for (const loss of losses) {
    picture.append(
      svg("line", { class: "grid", x1: EDGE.left, x2: width - EDGE.right, y1: y(loss), y2: y(loss) }),
      svg("text", { x: EDGE.left - 8, y: y(loss) + 4, "text-anchor": "end" }, loss.toFixed(decimals)),
    );
  }
  for (const step of ticks(0, last, Math.floor(width / 80)).filter((step) => step <= last && Number.isInteger(step))) {
    picture.append(svg("text", { x: x(step), y: HEIGHT - 12, "text-anchor": step > 0.97 * last ? "end" : "middle" }, step.toLocaleString("en")));
  }
  if (mark !== undefined) picture.append(svg("line", { class: "mark", x1: x(mark), x2: x(mark), y1: EDGE.top, y2: HEIGHT - EDGE.bottom }));
  const within = (/** @type {number[][]} */ points) => points.filter(([, loss]) => loss <= high);
  const path = (/** @type {number[][]} */ points) => points.map(([step, loss]) => `${x(step).toFixed(1)},${y(loss).toFixed(1)}`).join(" ");
  picture.append(
    svg("polyline", { class: "faint", points: path(thinned(within(steps), width)) }),
    svg("polyline", { class: "smooth", points: path(thinned(within(smoothed(steps)), width)) }),
    svg("polyline", { class: "dev", points: path(dev) }),
    ...dev.map(([step, loss]) => svg("circle", { class: "dev", cx: x(step), cy: y(loss), r: 3.5 })),
  );
  return picture;
}

/**
 * Round numbers at equal distances, the first at most `low` and the last at least `high`: about `count` of them.
 * @param {number} low
 * @param {number} high
 * @param {number} count
 */
function ticks(low, high, count) {
  if (!(high > low)) return Number.isFinite(low) ? [low, low + 1] : [0, 1];
  const rough = (high - low) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(rough));
  const apart = power * ([1, 2, 2.5, 5].find((digit) => digit * power >= rough) ?? 10);
  const [first, end] = [Math.floor(low / apart), Math.ceil(high / apart)];
  return Array.from({ length: end - first + 1 }, (_, index) => (first + index) * apart);
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
 * At most one of the points for each pixel: more cannot be seen.
 * @param {number[][]} points
 * @param {number} width
 */
function thinned(points, width) {
  const every = Math.ceil(points.length / width) || 1;
  return points.filter((_, place) => place % every === 0);
}
