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
function frame(host, {width, height, title, label, x, y}) {
  const top = (title ? 22 : 4) + (y.label ? 18 : 0);
  const bottom = height - (x.label ? 40 : 24);
  const yScale = linear(y.domain, [bottom, top]);
  const yTicks = yScale.ticks(Math.max(2, Math.floor((bottom - top) / 32)));
  const left = 12 + 6.4 * Math.max(...yTicks.map(({text}) => text.length), 1);
  const right = width - 12;
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
  root.append(inner);
  host.append(root);
  return {root, inner, x: xScale, y: yScale, left, right, top, bottom};
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
function readout(axes, xs, describe) {
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
    guide.setAttribute("visibility", "hidden");
    tip.hide();
  };
  area.addEventListener("pointermove", (event) => {
    const pixel = event.clientX - root.getBoundingClientRect().left;
    const distance = xs.map((value) => Math.abs(x(value) - pixel));
    show(distance.indexOf(Math.min(...distance)), event.clientX, event.clientY);
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
