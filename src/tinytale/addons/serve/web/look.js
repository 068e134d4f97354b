// Look inside: a text token by token, what surprised the model, what it expected, and where each head looked.
// Stands alone, so that `tinytale inspect --html` can put it into one file.
// @ts-check

/** @typedef {{text: string, probability: number}} Guess */
/** @typedef {{id: number, text: string, bits: number | null, candidates: Guess[], lens: Guess[]}} Token */
/** @typedef {{layers: number, heads: number, tokens: Token[], attention: string[][]}} Look */

const MATRIX = 640; // pixels that the attention matrix and its labels may take
const LABEL = 90; // pixels for the label that ends the last row
const LARGEST_CELL = 32;
const SMALLEST_LABEL = 9; // pixels; smaller ones could not be read
const MOST_BITS = 12; // from here on, a surprise is painted at full strength

/**
 * An element with attributes and children. Text is only ever set as text, never read as markup.
 * @param {string} name
 * @param {Record<string, string>} attributes
 * @param {...(Node | string)} children
 * @returns {HTMLElement}
 */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** @type {Record<string, string>} */
const SIGNS = { " ": "␣", "\n": "⏎", "\t": "⇥" };

/**
 * A token as it can be seen: what would not show by itself gets a sign, or its number in Unicode.
 * @param {string} text
 */
export function visible(text) {
  if (text === "<|endoftext|>") return "⟨end⟩";
  const number = (/** @type {string} */ one) => `⟨${one.codePointAt(0)?.toString(16).toUpperCase().padStart(4, "0")}⟩`;
  return text.replace(/[\p{C}\p{Z}]/gu, (one) => SIGNS[one] ?? number(one));
}

/** @param {number} share */
export function percent(share) {
  if (share >= 0.0995) return `${(share * 100).toFixed(0)} %`;
  return share < 0.0005 ? "< 0.1 %" : `${(share * 100).toFixed(1)} %`;
}

/**
 * One head's weights: row after row up to the diagonal, a byte each.
 * @param {string} base64
 * @returns {(query: number, key: number) => number} from 0 to 1
 */
export function unpack(base64) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  return (query, key) => (key > query ? 0 : bytes[(query * (query + 1)) / 2 + key] / 255);
}

/**
 * Show a look in `root`, whatever was there before.
 * @param {HTMLElement} root
 * @param {Look} look
 */
export function showLook(root, look) {
  const state = { token: Math.min(1, look.tokens.length - 1), layer: look.layers - 1, head: -1, matrix: false };
  const story = element("div", {
    class: "look-story",
    role: "listbox",
    tabindex: "0",
    "aria-label": "The text, token by token. Arrow keys move.",
  });
  const detail = element("section", { class: "look-detail", "aria-live": "polite" });
  const attention = element("section", { class: "look-attention" });
  const spans = look.tokens.map((token, place) => tokenSpan(token, place));
  story.append(...spans.flatMap((span, place) => (look.tokens[place].text.includes("\n") ? [span, element("br")] : [span])));

  /** @param {number} place */
  function select(place) {
    state.token = Math.max(0, Math.min(look.tokens.length - 1, place));
    draw();
  }

  function draw() {
    const weights = weightsOf(look, state.layer, state.head);
    spans.forEach((span, place) => {
      span.setAttribute("aria-selected", String(place === state.token));
      span.style.setProperty("--attended", weights(guessing(state), place).toFixed(3));
    });
    story.setAttribute("aria-activedescendant", spans[state.token].id);
    detail.replaceChildren(...tokenDetail(look, state.token));
    attention.replaceChildren(...attentionPanel(look, state, weights, draw, select, attention.clientWidth));
  }

  story.addEventListener("click", (event) => {
    const place = spans.indexOf(/** @type {HTMLElement} */ (event.target));
    if (place >= 0) select(place);
  });
  story.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: -1, ArrowUp: -10, ArrowRight: 1, ArrowDown: 10, Home: -Infinity, End: Infinity };
    const move = moves[/** @type {keyof typeof moves} */ (event.key)];
    if (move === undefined) return;
    event.preventDefault();
    select(state.token + move);
    spans[state.token].scrollIntoView({ block: "nearest" });
  });
  root.replaceChildren(
    element("div", { class: "look" }, element("div", {}, legend(), story), detail, attention),
  );
  draw();
}

/**
 * The position whose row guessed the chosen token: the one before it, -1 where the text begins.
 * @param {{token: number}} state
 */
const guessing = (state) => state.token - 1;

/**
 * @param {Token} token
 * @param {number} place
 */
function tokenSpan(token, place) {
  const end = token.text === "<|endoftext|>";
  const shown = end ? "⟨end⟩" : token.text.replaceAll("\n", "⏎");
  const span = element("span", { class: "look-token", role: "option", id: `token-${place}` }, shown);
  span.style.setProperty("--surprise", Math.min(1, (token.bits ?? 0) / MOST_BITS).toFixed(3));
  return span;
}

function legend() {
  const scale = element("span", { class: "look-scale", "aria-hidden": "true" });
  return element("p", { class: "look-legend" }, "Surprise: 0 bits", scale, `${MOST_BITS} bits and more. The line below a word: how much the guess at the chosen one took from it.`);
}

/**
 * What the model expected at a token, and what each layer would have said.
 * @param {Look} look
 * @param {number} place
 */
function tokenDetail(look, place) {
  const token = look.tokens[place];
  const before = look.tokens[place - 1];
  const heading = element("h2", {}, element("q", {}, visible(token.text)));
  const number = element("p", { class: "quiet" }, `token ${token.id}, position ${place}`);
  if (!before) return [heading, number, element("p", {}, "The text begins here: nothing could be expected.")];
  const bits = token.bits ?? 0;
  const chance = element("p", {}, `Probability ${percent(2 ** -bits)}, a surprise of ${bits.toFixed(1)} bits.`);
  return [
    heading,
    number,
    chance,
    element("h3", {}, "What the model expected"),
    guesses(before.candidates, token.text),
    element("h3", {}, "What each layer would have said"),
    lens(before.lens, token.text),
  ];
}

/**
 * @param {Guess[]} candidates
 * @param {string} chosen
 */
function guesses(candidates, chosen) {
  const list = element("ol", { class: "look-guesses" });
  for (const guess of candidates) {
    const bar = element("span", { class: "look-bar", "aria-hidden": "true" });
    bar.style.setProperty("--share", guess.probability.toFixed(4));
    const row = element("li", guess.text === chosen ? { class: "chosen" } : {});
    row.append(element("code", {}, visible(guess.text)), bar, element("span", {}, percent(guess.probability)));
    list.append(row);
  }
  return list;
}

/**
 * @param {Guess[]} layers
 * @param {string} chosen
 */
function lens(layers, chosen) {
  const list = element("ol", { class: "look-guesses" });
  layers.forEach((guess, layer) => {
    const bar = element("span", { class: "look-bar", "aria-hidden": "true" });
    bar.style.setProperty("--share", guess.probability.toFixed(4));
    const name = layer === 0 ? "embedding" : `layer ${layer}`;
    const row = element("li", guess.text === chosen ? { class: "chosen" } : {});
    row.append(element("small", {}, name), element("code", {}, visible(guess.text)), bar, element("span", {}, percent(guess.probability)));
    list.append(row);
  });
  return list;
}

/**
 * The weights of one head, or the mean of a layer's heads.
 * @param {Look} look
 * @param {number} layer
 * @param {number} head -1 for all
 */
function weightsOf(look, layer, head) {
  const heads = (head < 0 ? look.attention[layer] : [look.attention[layer][head]]).map(unpack);
  return (/** @type {number} */ query, /** @type {number} */ key) =>
    heads.reduce((sum, weights) => sum + weights(query, key), 0) / heads.length;
}

/**
 * @param {Look} look
 * @param {{token: number, layer: number, head: number, matrix: boolean}} state
 * @param {(query: number, key: number) => number} weights
 * @param {() => void} draw
 * @param {(place: number) => void} select
 * @param {number} width pixels that there are
 */
function attentionPanel(look, state, weights, draw, select, width) {
  const layers = picker("Layer", numbers(look.layers), state.layer, (layer) => ((state.layer = layer), draw()));
  const heads = picker("Head", ["all", ...numbers(look.heads)], state.head + 1, (head) => ((state.head = head - 1), draw()));
  const canvas = matrix(look, state, weights, select, Math.min(MATRIX, width || MATRIX));
  return [element("h2", {}, "Attention"), element("div", { class: "look-pickers" }, layers, heads), canvas];
}

/** @param {number} count */
const numbers = (count) => Array.from({ length: count }, (_, index) => String(index + 1));

/**
 * A row of buttons, one pressed.
 * @param {string} label
 * @param {string[]} choices
 * @param {number} current
 * @param {(choice: number) => void} choose
 */
export function picker(label, choices, current, choose) {
  const row = element("div", { class: "look-picker", role: "group", "aria-label": label }, element("span", {}, label));
  choices.forEach((name, choice) => {
    const button = element("button", { type: "button", "aria-pressed": String(choice === current) }, name);
    button.addEventListener("click", () => {
      choose(choice);
      /** @type {HTMLElement | null} */ (document.querySelector(`[aria-label="${label}"] [aria-pressed="true"]`))?.focus();
    });
    row.append(button);
  });
  return row;
}

/**
 * Who looks at whom: a row for each position, a column for each that it may look at. The row that guessed the chosen token
 * is framed; where there is room, each row ends with its own token.
 * @param {Look} look
 * @param {{token: number}} state
 * @param {(query: number, key: number) => number} weights
 * @param {(place: number) => void} select
 * @param {number} width
 */
function matrix(look, state, weights, select, width) {
  const size = look.tokens.length;
  const room = (width - LABEL) / size >= SMALLEST_LABEL ? LABEL : 0;
  const cell = Math.max(1, Math.min(LARGEST_CELL, Math.floor((width - 2 - room) / size)));
  const canvas = /** @type {HTMLCanvasElement} */ (element("canvas", { class: "look-matrix", role: "img" }));
  canvas.setAttribute("aria-label", "Attention matrix: rows look at columns");
  const sharp = Math.max(1, Math.round(devicePixelRatio));
  canvas.width = (size * cell + room) * sharp;
  canvas.height = size * cell * sharp;
  canvas.style.width = `${size * cell + room}px`;
  const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const colour = (/** @type {string} */ name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  pen.scale(sharp, sharp);
  pen.fillStyle = colour("--look-ink");
  for (let query = 0; query < size; query++) {
    for (let key = 0; key <= query; key++) {
      pen.globalAlpha = Math.sqrt(weights(query, key)); // a square root, or only the largest would be seen
      pen.fillRect(key * cell, query * cell, cell, cell);
    }
  }
  pen.globalAlpha = 1;
  pen.textBaseline = "middle";
  for (let place = 0; room && place < size; place++) {
    const chosen = place === guessing(state);
    pen.fillStyle = colour(chosen ? "--accent" : "--quiet");
    pen.font = `${chosen ? "bold " : ""}${Math.min(13, cell)}px system-ui, sans-serif`;
    pen.fillText(visible(look.tokens[place].text), (place + 1) * cell + 5, (place + 0.5) * cell + 1);
  }
  pen.strokeStyle = colour("--accent");
  pen.lineWidth = Math.max(1, Math.min(3, cell / 4));
  if (guessing(state) >= 0) pen.strokeRect(0, guessing(state) * cell, state.token * cell, cell);
  canvas.addEventListener("click", (event) => {
    const row = Math.floor((event.offsetY / canvas.clientHeight) * size);
    if (row + 1 < size) select(row + 1); // the last row guessed what is not in the text
  });
  return element("figure", {}, canvas, element("figcaption", { class: "quiet" }, "Each row is a token: it shows from which it takes, itself among them, to guess the next. The row that guessed the chosen token is framed."));
}
