// Data, elements, numbers, the tip that follows the pointer. All scripts are one module.

const {model, colours, digits: scoreDigits} = JSON.parse($("#page-data").textContent);
const SVG = $("#page-marks").namespaceURI;
const NONE = "–";

function $(selector, root = document) {
  return root.querySelector(selector);
}

function $$(selector, root = document) {
  return [...root.querySelectorAll(selector)];
}

// Text enters the document as text nodes and attributes only, so no name can become markup.
function build(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(key, value);
    else if (value !== null && value !== undefined && value !== false) {
      node.setAttribute(key, value === true ? "" : value);
    }
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

function html(name, attributes = {}, ...children) {
  return build(document.createElement(name), attributes, children);
}

function svg(name, attributes = {}, ...children) {
  return build(document.createElementNS(SVG, name), attributes, children);
}

// Numbers, as numerals.py writes them.

const formats = new Map();

function number(value, digits = 0) {
  if (value === null || value === undefined) return NONE;
  if (!formats.has(digits)) {
    const options = {minimumFractionDigits: digits, maximumFractionDigits: digits};
    formats.set(digits, new Intl.NumberFormat("en-US", {...options, signDisplay: "negative"}));
  }
  return formats.get(digits).format(value);
}

function triple([value, low, high], digits) {
  const known = low !== null && high !== null;
  return number(value, digits) + (known ? ` [${number(low, digits)}, ${number(high, digits)}]` : "");
}

// Ticks: 0.05, 2,000, 500k, 2M.
function tickText(value, step) {
  const size = Math.abs(value);
  if (size >= 1e6) return `${trim(value / 1e6)}M`;
  if (size >= 1e4) return `${trim(value / 1e3)}k`;
  const power = Math.floor(Math.log10(step) + 1e-9);
  const half = step / 10 ** power > 2.4 && step / 10 ** power < 2.6;
  return number(value, Math.max(0, Math.min(6, half - power)));
}

function trim(value) {
  return String(Number(value.toPrecision(4)));
}

function duration(seconds) {
  if (seconds === null || seconds === undefined) return NONE;
  if (seconds < 10) return `${number(seconds, 1)} s`;
  if (seconds < 120) return `${number(seconds)} s`;
  return seconds < 7200 ? `${number(seconds / 60)} min` : `${number(seconds / 3600, 1)} h`;
}

// The decoded part after `#`; as it stands where it is no valid code.
function fragment(hash) {
  try {
    return decodeURIComponent(hash.slice(1));
  } catch {
    return hash.slice(1);
  }
}

function short(text, length) {
  return text.length > length ? `${text.slice(0, length - 1)}…` : text;
}

// Series: colour and shape repeat after eight; then the lines are dashed and the marks hollow.

const SHAPES = $$("#page-marks path").length;

function seriesClass(name) {
  return `s${colours[name] % SHAPES}`;
}

function round(name) {
  return Math.floor(colours[name] / SHAPES);
}

function dashes(name) {
  return [null, "6 3", "2 3", "8 3 2 3", "1 2"][round(name) % 5];
}

function markAt(name, x, y, scale = 1) {
  const kind = `mark-at ${seriesClass(name)}${round(name) % 2 ? " open" : ""}`;
  const transform = `translate(${x.toFixed(2)} ${y.toFixed(2)}) scale(${scale})`;
  return svg("use", {href: `#mark-${colours[name] % SHAPES}`, class: kind, transform});
}

function markOf(name) {
  const kind = `mark ${seriesClass(name)}${round(name) % 2 ? " open" : ""}`;
  const shape = svg("use", {href: `#mark-${colours[name] % SHAPES}`});
  return svg("svg", {class: kind, viewBox: "-7 -7 14 14", "aria-hidden": "true"}, shape);
}

const tip = {
  node: $("#page-tip"),

  // Lines are [name of a series or null, label, text].
  show(x, y, title, lines = []) {
    const shown = lines.map(([series, label, text]) =>
      html("tr", {}, html("th", {}, series ? markOf(series) : null, short(label, 34)), html("td", {}, text)));
    // An open dialog covers all that is not inside it.
    ($("dialog[open]") || document.body).append(this.node);
    this.node.replaceChildren(html("p", {}, title), html("table", {}, html("tbody", {}, ...shown)));
    this.node.hidden = false;
    const {width, height} = this.node.getBoundingClientRect();
    const left = x + 16 + width > innerWidth ? x - 16 - width : x + 16;
    const top = Math.min(y + 16, innerHeight - height - 8);
    this.node.style.left = `${Math.max(8, Math.min(left, innerWidth - width - 8))}px`;
    this.node.style.top = `${Math.max(8, top)}px`;
  },

  hide() {
    this.node.hidden = true;
  },

  // For a screen reader: only what the keyboard asks for, not every move of the pointer.
  say(title, lines) {
    $("#page-spoken").textContent = [title, ...lines.map(([, label, text]) => `${label} ${text}`)].join("; ");
  },
};

function copyButton(text, label = "copy") {
  const button = html("button", {type: "button", class: "copy", "aria-label": `copy ${short(text, 60)}`}, label);
  button.addEventListener("click", async () => {
    button.textContent = (await copied(text)) ? "copied" : "select and copy";
    setTimeout(() => (button.textContent = label), 1600);
  });
  return button;
}

// The clipboard's interface is missing where the page is opened as a file in some browsers.
async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = html("textarea", {class: "unseen"});
    area.value = text;
    (document.activeElement.closest("dialog") || document.body).append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}
