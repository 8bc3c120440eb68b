// Learning curves, performance profiles, cost against score.

// Many bands cover one another: above this, only that of the line in focus is drawn.
const BANDS = 6;

function curvePlot(host, width, shown, environment) {
  const {track} = shown;
  const digits = scoreDigits[track.name][environment.id];
  const tasks = new Map(track.tasks[environment.id].map((task) => [task.key, task]));
  const {metric} = environment;
  const unit = metric.unit ? ` (${metric.unit})` : "";
  linesOverSteps(host, width, shown, {
    lines: shown.visible().map((row) => tasks.get(row.key)).filter((task) => task?.curve.length)
      .map((task) => [task, task.curve]),
    title: environment.id,
    label: `Learning curves on ${environment.id}`,
    axis: `${metric.name}${unit}, ${metric.direction === "min" ? "lower is better" : "higher is better"}`,
    marks: marksOf(environment),
    sign: metric.direction === "min" ? 1 : -1,
    digits,
  });
}

function samplePlot(host, width, shown) {
  const {curves} = shown.track;
  linesOverSteps(host, width, shown, {
    lines: shown.visible().filter((row) => curves[row.key]).map((row) => [row, curves[row.key]]),
    label: "Mean normalised score over all environments at each evaluation",
    axis: "mean normalised score, higher is better",
    marks: [["reference", 1], ["floor", 0]],
    sign: -1,
    digits: 3,
  });
}

// Lines are [row, points of {step, mean, low, high}]; sign is -1 where higher is better.
function linesOverSteps(host, width, shown, {lines, title, label, axis, marks, sign, digits}) {
  const {track} = shown;
  const points = lines.flatMap(([, curve]) => curve);
  const valuesOf = (curve) => curve.flatMap(({mean, low, high}) => [low, high, mean]);
  const far = farRows(lines.map(([row, curve]) => [row.key, valuesOf(curve)]));
  const range = zoomed(lines.filter(([row]) => !far.has(row.key)).flatMap(([, curve]) => valuesOf(curve)), marks);
  const height = width > 460 ? 330 : 250;
  const named = namesFit(width, lines.length, height - 84);
  const axes = frame(host, {
    width,
    height,
    title,
    label: `${label}: ${lines.map(([row]) => row.name).join(", ")}`,
    x: {domain: [0, Math.max(track.budget, ...points.map(({step}) => step))], label: track.unit},
    y: {domain: range.domain, label: axis},
    side: named ? NAMES.side : 0,
    marks: range.marks,
  });
  const {root, inner, x} = axes;
  const y = atEdge(axes.y, axes);
  const light = (key) => focusOn(root, key);
  if (lines.length > BANDS) root.classList.add("many");
  for (const [row, curve] of lines) inner.append(band(row, curve.map((p) => [x(p.step), place(y, p.low), place(y, p.high)])));
  for (const [row, curve] of lines) inner.append(line(row, curve.map((p) => [x(p.step), y(p.mean)])));
  const steps = [...new Set(points.map(({step}) => step))].sort((a, b) => a - b);
  const at = (index) => lines.map(([row, curve]) => [row, curve.find(({step}) => step === steps[index])])
    .filter(([, point]) => point);
  readout(axes, steps, (index) => {
    const known = at(index).sort(([, a], [, b]) => sign * (a.mean - b.mean));
    return {
      title: `${number(steps[index])} ${track.unit}`,
      lines: known.map(([row, {mean, low, high}]) => [row.name, row.name, triple([mean, low, high], digits)]),
    };
  }, (index, pixel) => nearest(at(index).map(([row, point]) => [row.key, y(point.mean)]), pixel), light);
  if (named) names(axes, lines.map(([row, curve]) => [row, y(curve.at(-1).mean), arrow(axes, curve.at(-1).mean)]), light);
}

// The key whose pixel is nearest; null where all are far.
function nearest(places, pixel) {
  const [key, distance] = places.map(([key, y]) => [key, Math.abs(y - pixel)])
    .reduce((best, each) => (each[1] < best[1] ? each : best), [null, 24]);
  return distance < 24 ? key : null;
}

// What is written before a name where the value lies outside the axis.
function arrow({y, top, bottom}, value) {
  return y(value) < top - 0.5 ? "▴ " : y(value) > bottom + 0.5 ? "▾ " : "";
}

// A pixel, or null where there is no value.
function place(scale, value) {
  return value === null ? null : scale(value);
}

function band(row, points) {
  return svg("path", {d: bandPath(points), class: `band ${seriesClass(row.name)}`, "data-series": row.key});
}

// With a mark at the last point, or at the one of index `at`.
function line(row, points, at = -1) {
  const {name, key} = row;
  const path = svg("path", {d: linePath(points), class: `line ${seriesClass(name)}`, "stroke-dasharray": dashes(name)});
  return svg("g", {"data-series": key}, path, markAt(name, ...points.at(at), 0.85));
}

function profilePlot(host, width, shown) {
  const {rows} = shown.track.profile;
  const lines = shown.visible().filter((row) => rows[row.key]);
  // The axis begins where the first of the rows, but for far ones, falls below 1.
  const half = ({key}) => Math.max(0, rows[key].value.findLastIndex((share) => share >= 0.5));
  const far = farRows(lines.map((row) => [row.key, [shown.track.profile.tau[half(row)]]]));
  const whole = (row) => Math.max(0, rows[row.key].value.findIndex((share) => share < 1) - 1);
  const start = Math.min(...lines.filter((row) => !far.has(row.key)).map(whole), 1e9) % 1e9;
  const tau = shown.track.profile.tau.slice(far.size ? start : 0);
  const skipped = shown.track.profile.tau.length - tau.length;
  const named = namesFit(width, lines.length, 330 - 62);
  const axes = frame(host, {
    width,
    height: 330,
    side: named ? NAMES.side : 0,
    label: `Performance profiles of ${lines.map((row) => row.name).join(", ")}`,
    x: {domain: [tau[0], tau.at(-1)], label: "normalised score τ (0 = floor, 1 = reference)"},
    y: {domain: [0, 1.02], label: "fraction of runs with a score above τ"},
  });
  const {root, inner, x, y} = axes;
  const light = (key) => focusOn(root, key);
  if (lines.length > BANDS) root.classList.add("many");
  for (const row of lines) {
    const [lows, highs] = [rows[row.key].low.slice(skipped), rows[row.key].high.slice(skipped)];
    inner.append(band(row, tau.map((t, i) => [x(t), place(y, lows[i]), place(y, highs[i])])));
  }
  for (const row of lines) {
    const value = rows[row.key].value.slice(skipped);
    // The mark stands where the curve passes one half; at the ends all curves meet.
    inner.append(line(row, tau.map((t, i) => [x(t), y(value[i])]), Math.max(0, half(row) - skipped)));
  }
  readout(axes, tau, (index) => {
    const at = ({key}) => ["value", "low", "high"].map((end) => rows[key][end][index + skipped]);
    const ordered = [...lines].sort((a, b) => at(b)[0] - at(a)[0]);
    return {
      title: `score above ${number(tau[index], 2)}`,
      lines: ordered.map((row) => [row.name, row.name, triple(at(row), 2)]),
    };
  }, (index, pixel) => nearest(lines.map((row) => [row.key, y(rows[row.key].value[index + skipped])]), pixel), light);
  // All lines end together: the names stand in the order of the areas below the lines.
  const area = ({key}) => rows[key].value.reduce((sum, share) => sum + share, 0);
  const ordered = [...lines].sort((a, b) => area(b) - area(a));
  if (named) names(axes, ordered.map((row, i) => [row, axes.top + 8 + i * NAMES.high, far.has(row.key) ? "◂ " : ""]), light);
  for (const leader of $$(".leader", root)) leader.remove();
}

const COSTS = {
  wall_s: ["wall time of a run, seconds", "wall time", duration],
  steps_per_s: ["environment steps a second", "steps/s", (value) => number(value)],
  cpu_s: ["CPU time of a run, seconds", "CPU time", duration],
  parameters: ["parameters", "parameters", (value) => number(value)],
  peak_memory_mib: ["peak memory, MiB", "memory", (value) => `${number(value)} MiB`],
};

function costPlot(host, width, shown, field) {
  const [label, word, text] = COSTS[field];
  const dots = shown.visible().filter((row) => row.iqm?.[0] != null && row.cost?.[field] > 0);
  const far = farRows(dots.map((row) => [row.key, [row.iqm[1], row.iqm[2], row.iqm[0]]]));
  const range = zoomed(dots.filter((row) => !far.has(row.key)).flatMap((row) => row.iqm), [["reference", 1], ["floor", 0]]);
  const axes = frame(host, {
    width,
    height: 330,
    marks: range.marks,
    label: `Interquartile mean against ${word}: ${dots.map((row) => row.name).join(", ")}`,
    x: {domain: logExtent(dots.map((row) => row.cost[field])), log: true, label: `${label} (log scale)`},
    y: {domain: range.domain, label: "normalised IQM"},
  });
  const {inner, x} = axes;
  const y = atEdge(axes.y, axes);
  const places = dots.map((row) => [x(row.cost[field]), y(row.iqm[0])]);
  const taken = places.map(([cx, cy]) => [cx - 6, cy - 6, cx + 6, cy + 6]);
  dots.forEach((row, i) => {
    const [cx, cy] = places[i];
    const [, from, to] = row.iqm;
    const group = svg("g", {"data-series": row.key, class: "dot"});
    if (from !== null && to !== null) {
      group.append(svg("line", {x1: cx, x2: cx, y1: y(from), y2: y(to), class: `whisker ${seriesClass(row.name)}`}));
    }
    group.append(markAt(row.name, cx, cy, 1.15));
    const name = arrow(axes, row.iqm[0]) + short(row.name, 24);
    const spot = dots.length <= 24 ? labelSpot(name, cx, cy, taken, axes) : null;
    if (spot) group.append(svg("text", {...spot, class: "name"}, name));
    group.append(svg("circle", {cx, cy, r: 12, class: "area"}));
    group.addEventListener("pointermove", (event) => tip.show(event.clientX, event.clientY, row.name, [
      [null, "IQM", triple(row.iqm, 2)],
      [null, word, text(row.cost[field])],
    ]));
    group.addEventListener("pointerleave", () => tip.hide());
    inner.append(group);
  });
}

// Where a label beside a dot touches neither another label nor a dot; null if nowhere.
function labelSpot(text, cx, cy, taken, axes) {
  const width = text.length * 6.1;
  const spots = [[8, 4, "start"], [-8, 4, "end"], [8, -9, "start"], [-8, -9, "end"], [8, 17, "start"], [-8, 17, "end"]];
  for (const [dx, dy, anchor] of spots) {
    const from = anchor === "start" ? cx + dx : cx + dx - width;
    const box = [from, cy + dy - 10, from + width, cy + dy + 3];
    const free = taken.every((other) => box[2] < other[0] || box[0] > other[2] || box[3] < other[1] || box[1] > other[3]);
    if (free && box[0] >= axes.left && box[2] <= axes.right + 10) {
      taken.push(box);
      return {x: cx + dx, y: cy + dy, "text-anchor": anchor};
    }
  }
  return null;
}

// The figures of a track, each in the element that the page holds for it.
function figures(shown) {
  const {section, track} = shown;
  const all = $(".figures", section);
  if (!all) return;
  all.hidden = false;
  const host = (kind) => $(`[data-figure="${kind}"] .plots`, section);
  const panel = (kind) => {
    const node = html("div", {class: `panel ${kind}`});
    host(kind).append(node);
    return node;
  };
  if (host("sample")) drawn(panel("sample"), shown, (node, width) => samplePlot(node, width, shown));
  if (host("curves")) {
    const found = track.environments.filter(({id}) => track.tasks[id]?.some((task) => task.curve.length));
    for (const environment of found) {
      drawn(panel("curves"), shown, (node, width) => curvePlot(node, width, shown, environment));
    }
  }
  if (host("profile")) drawn(panel("profile"), shown, (node, width) => profilePlot(node, width, shown));
  if (host("cost")) {
    const known = Object.keys(COSTS).filter((field) => shown.rows.some((row) => row.cost?.[field] > 0));
    const options = known.map((field) => html("option", {value: field}, COSTS[field][1]));
    const select = html("select", {"aria-label": "Horizontal axis"}, ...options);
    host("cost").append(html("label", {class: "choice"}, "against ", select));
    const draw = drawn(panel("cost"), shown, (node, width) => costPlot(node, width, shown, select.value));
    select.addEventListener("change", () => draw(true));
  }
  if (host("pairs")) pairPlots(host("pairs"), shown);
}
