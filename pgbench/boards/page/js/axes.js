// Scales, ticks, the frame of a plot, and the readout under the pointer.

function linear([low, high], [from, to]) {
  const scale = (value) => from + ((value - low) / (high - low)) * (to - from);
  scale.ticks = (count) => {
    const step = niceStep((high - low) / count);
    const ticks = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) ticks.push(i * step);
    return ticks.map((at) => ({at, text: tickText(Math.abs(at) < step / 2 ? 0 : at, step)}));
  };
  return scale;
}

function logarithmic([low, high], [from, to]) {
  const inner = linear([Math.log10(low), Math.log10(high)], [from, to]);
  const scale = (value) => inner(Math.log10(value));
  scale.ticks = (count) => {
    const decades = Math.log10(high / low);
    const digits = decades < count / 4 ? [1, 2, 3, 4, 5, 6, 8] : decades < count / 2 ? [1, 2, 5] : [1];
    const ticks = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
      for (const digit of digits) ticks.push(digit * 10 ** power);
    }
    return ticks.filter((at) => at >= low * 0.999 && at <= high * 1.001)
      .map((at) => ({at, text: tickText(at, at)}));
  };
  return scale;
}

// 1, 2, 2.5 or 5 times a power of ten.
function niceStep(rough) {
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 2.5, 5, 10].find((factor) => factor * power >= rough * 0.999) * power;
}

// The range of the values, a little wider; of one value, some range around it.
function extent(values, margin = 0.04) {
  const known = values.filter((value) => value !== null && value !== undefined);
  let [low, high] = [Math.min(...known), Math.max(...known)];
  if (!known.length) [low, high] = [0, 1];
  if (low === high) [low, high] = [low - Math.abs(low || 1) / 2, high + Math.abs(high || 1) / 2];
  const room = (high - low) * margin;
  return [low - room, high + room];
}

function logExtent(values) {
  const [low, high] = extent(values.filter((value) => value > 0).map(Math.log10), 0.08);
  return [10 ** low, 10 ** high];
}

// An empty plot in `host`: title, labelled axes, light grid. Gives the scales and the inner group.
// `side` is room at the right for names; `marks` are lines across, see `zoomed`.
function frame(host, {width, height, title, label, x, y, side = 0, marks = []}) {
  const top = (title ? 22 : 4) + (y.label ? 18 : 0);
  const bottom = height - (x.label ? 40 : 24);
  const yScale = linear(y.domain, [bottom, top]);
  const yTicks = yScale.ticks(Math.max(2, Math.floor((bottom - top) / 32)));
  const left = 12 + 6.4 * Math.max(...yTicks.map(({text}) => text.length), 1);
  const right = width - 12 - side;
  const xScale = (x.log ? logarithmic : linear)(x.domain, [left, right]);
  const root = svg("svg", {class: "plot", width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label});
  const inner = svg("g");
  if (title) root.append(svg("text", {x: 0, y: 13, class: "title"}, title));
  if (y.label) root.append(svg("text", {x: 0, y: top - 9, class: "label"}, y.label));
  if (x.label) root.append(svg("text", {x: right, y: height - 5, class: "label", "text-anchor": "end"}, x.label));
  for (const {at, text} of yTicks) {
    const y1 = yScale(at);
    root.append(svg("line", {x1: left, x2: right, y1, y2: y1, class: "grid"}));
    root.append(svg("text", {x: left - 7, y: y1 + 3.5, class: "tick", "text-anchor": "end"}, text));
  }
  root.append(svg("line", {x1: left, x2: right, y1: bottom, y2: bottom, class: "axis"}));
  let last = -Infinity;
  for (const {at, text} of xScale.ticks(Math.max(2, Math.floor((right - left) / 64)))) {
    const x1 = xScale(at);
    root.append(svg("line", {x1, x2: x1, y1: bottom, y2: bottom + 4, class: "axis"}));
    const half = text.length * 3.2;
    if (x1 - half < last + 6) continue;
    last = x1 + half;
    const edge = Math.min(x1, width - half);
    root.append(svg("text", {x: edge, y: bottom + 17, class: "tick", "text-anchor": "middle"}, text));
  }
  const [lines, texts] = markLines(marks, yScale, {left, right, top, bottom});
  root.append(...lines, inner, ...texts);
  host.append(root);
  return {root, inner, x: xScale, y: yScale, left, right, top, bottom};
}

// The range of the values, with those marks that do not double it; what lies outside is named.
function zoomed(values, marks) {
  let domain = extent(values);
  const most = 2 * (domain[1] - domain[0]);
  const far = ([, value]) => Math.max(domain[0] - value, value - domain[1]);
  const known = marks.filter(([, value]) => value !== null && value !== undefined);
  for (const [, value] of [...known].sort((a, b) => far(a) - far(b))) {
    const wider = extent([...values, ...domain, value], 0);
    if (wider[1] - wider[0] <= most) domain = wider;
  }
  return {domain, marks: known};
}

// Keys of rows, one in six at most, that lie so far from the others that they would squash them.
function farRows(entries) {
  const last = ([, values]) => values.at(-1);
  const middle = entries.map(last).sort((a, b) => a - b)[Math.floor(entries.length / 2)];
  const sorted = [...entries].sort((a, b) => Math.abs(last(a) - middle) - Math.abs(last(b) - middle));
  const span = (list) => {
    const values = list.flatMap(([, own]) => own).filter((value) => value !== null);
    return Math.max(...values) - Math.min(...values);
  };
  for (let count = Math.floor(entries.length / 6); count > 0; count--) {
    const kept = sorted.length - count;
    if (2 * span(sorted.slice(0, kept)) < span(sorted.slice(0, kept + 1))) {
      return new Set(sorted.slice(kept).map(([key]) => key));
    }
  }
  return new Set();
}

// The scale, with what lies outside the axis at its edge.
function atEdge(y, {top, bottom}) {
  return (value) => Math.max(top, Math.min(bottom, y(value)));
}

// Floor, reference and ceiling of an environment; one line where two are the same.
function marksOf({floor, reference, ceiling}) {
  if (ceiling !== null && ceiling === reference) return [["reference = ceiling", reference], ["floor", floor]];
  return [["reference", reference], ["floor", floor], ["ceiling", ceiling]];
}

function markLines(marks, y, {left, right, top, bottom}) {
  const [lines, texts, taken] = [[], [], []];
  for (const [name, value] of marks) {
    const at = y(value);
    const outside = at < top - 0.5 ? "▴" : at > bottom + 0.5 ? "▾" : "";
    if (!outside) lines.push(svg("line", {x1: left, x2: right, y1: at, y2: at, class: "reference"}));
    const spot = Math.max(top + 9, Math.min(bottom - 4, at - 4));
    if (taken.some((other) => Math.abs(other - spot) < 12)) continue;
    taken.push(spot);
    const text = `${outside} ${name} ${trim(value)}`.trim();
    texts.push(svg("text", {x: right - 2, y: spot, class: "mark-name", "text-anchor": "end"}, text));
  }
  return [lines, texts];
}

// Names at the right of the lines, pushed apart; none where they do not fit.
const NAMES = {side: 128, least: 460, high: 11.5};

function namesFit(width, count, height) {
  return width >= NAMES.least && count > 0 && count * NAMES.high <= height;
}

// Each of `ends` is [row, y, sign]: where its line ends, and an arrow where it lies outside.
function names({inner, right, top, bottom}, ends, light) {
  const spots = [...ends].sort(([, a], [, b]) => a - b).map(([row, y, sign = ""]) => ({row, y, sign, at: y}));
  spots.forEach((spot, i) => (spot.at = Math.max(spot.at, i ? spots[i - 1].at + NAMES.high : top)));
  for (let i = spots.length - 1, limit = bottom + 4; i >= 0; limit = spots[i--].at - NAMES.high) {
    spots[i].at = Math.min(spots[i].at, limit);
  }
  for (const {row, y, sign, at} of spots) {
    const group = svg("g", {"data-name": row.key, class: `end ${seriesClass(row.name)}`});
    group.append(
      svg("path", {d: linePath([[right + 6, y], [right + 16, at]]), class: "leader"}),
      markAt(row.name, right + 23, at, 0.75),
      svg("text", {x: right + 32, y: at + 3.5, class: "name"}, sign + short(row.name, 17)),
    );
    group.addEventListener("pointerenter", () => light(row.key));
    group.addEventListener("pointerleave", () => light(null));
    inner.append(group);
  }
}

function linePath(points) {
  return points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");
}

// A closed band; where an interval is missing the band has a gap.
function bandPath(points) {
  const parts = [];
  let part = [];
  for (const point of [...points, null]) {
    if (point && point[1] !== null && point[2] !== null) part.push(point);
    else {
      if (part.length > 1) parts.push(part);
      part = [];
    }
  }
  return parts.map((each) => {
    const back = [...each].reverse().map(([x, , high]) => [x, high]);
    return `${linePath([...each.map(([x, low]) => [x, low]), ...back])}Z`;
  }).join("");
}

// A line that jumps between the positions `xs` under the pointer, or by the arrow keys.
// `pick(index, y)` is the series nearest to the pointer, which `light` makes stand out.
function readout(axes, xs, describe, pick, light) {
  if (!xs.length) return;
  const {root, x, left, right, top, bottom} = axes;
  const guide = svg("line", {y1: top, y2: bottom, class: "guide", visibility: "hidden"});
  const area = svg("rect", {x: left, y: top, width: right - left, height: bottom - top, class: "area"});
  root.append(guide, area);
  root.setAttribute("tabindex", 0);
  let at = null;
  const show = (index, clientX, clientY) => {
    at = index;
    const pixel = x(xs[index]);
    guide.setAttribute("x1", pixel);
    guide.setAttribute("x2", pixel);
    guide.setAttribute("visibility", "visible");
    const {title, lines} = describe(index);
    const box = root.getBoundingClientRect();
    tip.show(clientX ?? box.left + pixel, clientY ?? box.top + top, title, lines);
    return {title, lines};
  };
  const hide = () => {
    light?.(null);
    guide.setAttribute("visibility", "hidden");
    tip.hide();
  };
  area.addEventListener("pointermove", (event) => {
    const box = root.getBoundingClientRect();
    const distance = xs.map((value) => Math.abs(x(value) - (event.clientX - box.left)));
    const index = distance.indexOf(Math.min(...distance));
    light?.(pick(index, event.clientY - box.top));
    show(index, event.clientX, event.clientY);
  });
  area.addEventListener("pointerleave", hide);
  root.addEventListener("blur", hide);
  root.addEventListener("keydown", (event) => {
    const step = {ArrowRight: 1, ArrowLeft: -1}[event.key];
    if (!step) return;
    event.preventDefault();
    const next = at === null ? (step > 0 ? 0 : xs.length - 1) : at + step;
    const {title, lines} = show(Math.max(0, Math.min(xs.length - 1, next)));
    tip.say(title, lines);
  });
}

// Draws when the plot comes near the screen, again when its width or its series change.
function drawn(host, shown, paint) {
  let near = false;
  let width = 0;
  let due = true;
  const draw = (force) => {
    due = true;
    if (!(near || force) || !host.clientWidth) return;
    due = false;
    width = host.clientWidth;
    const focused = host.contains(document.activeElement) && document.activeElement.id;
    host.replaceChildren();
    paint(host, width);
    if (focused) document.getElementById(focused)?.focus();
  };
  new IntersectionObserver((entries) => {
    near = entries.at(-1).isIntersecting;
    if (near && due) draw();
  }, {rootMargin: "500px"}).observe(host);
  new ResizeObserver(() => {
    if (host.clientWidth !== width) draw();
  }).observe(host);
  shown?.addEventListener("change", () => draw());
  addEventListener("beforeprint", () => draw(true));
  return draw;
}
