// Learning curves, performance profiles, cost against score.

function curvePlot(host, width, shown, environment) {
  const {track} = shown;
  const digits = scoreDigits[track.name][environment.id];
  const tasks = new Map(track.tasks[environment.id].map((task) => [task.key, task]));
  const lines = shown.visible().map((row) => tasks.get(row.key)).filter((task) => task?.curve.length);
  const points = lines.flatMap((task) => task.curve);
  const values = points.flatMap(({mean, low, high}) => [mean, low, high]);
  const {floor, reference, metric} = environment;
  const {domain, shows} = curveDomain(values, floor, reference);
  const better = metric.direction === "min" ? "lower is better" : "higher is better";
  const unit = metric.unit ? ` (${metric.unit})` : "";
  const axes = frame(host, {
    width,
    height: 250,
    title: environment.id,
    label: `Learning curves on ${environment.id}: ${lines.map((task) => task.name).join(", ")}`,
    x: {domain: [0, Math.max(track.budget, ...points.map(({step}) => step))], label: track.unit},
    y: {domain, label: `${metric.name}${unit}, ${better}`},
  });
  const {inner, x, y} = axes;
  if (shows) inner.append(svg("line", {x1: axes.left, x2: axes.right, y1: y(reference), y2: y(reference), class: "reference"}));
  for (const task of lines) inner.append(band(task, task.curve.map((p) => [x(p.step), place(y, p.low), place(y, p.high)])));
  for (const task of lines) inner.append(line(task, task.curve.map((p) => [x(p.step), y(p.mean)])));
  const steps = [...new Set(points.map(({step}) => step))].sort((a, b) => a - b);
  const sign = metric.direction === "min" ? 1 : -1;
  readout(axes, steps, (index) => {
    const found = lines.map((task) => [task, task.curve.find(({step}) => step === steps[index])]);
    const known = found.filter(([, point]) => point).sort(([, a], [, b]) => sign * (a.mean - b.mean));
    const text = ({mean, low, high}) => triple([mean, low, high], digits);
    return {
      title: `${number(steps[index])} ${track.unit}`,
      lines: known.map(([task, point]) => [task.name, task.name, text(point)]),
    };
  });
}

// A pixel, or null where there is no value.
function place(scale, value) {
  return value === null ? null : scale(value);
}

// The curves set the range. Floor and reference are shown where they do not squash them.
function curveDomain(values, floor, reference) {
  const span = ([low, high]) => high - low;
  let [domain, shows] = [extent(values), false];
  for (const [value, most] of [[floor, 4], [reference, 2]]) {
    const wider = extent([...values, domain[0], domain[1], value], 0);
    if (value === null || span(wider) > most * span(domain)) continue;
    [domain, shows] = [wider, shows || value === reference];
  }
  return {domain, shows};
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
  const {tau, rows} = shown.track.profile;
  const lines = shown.visible().filter((row) => rows[row.key]);
  const axes = frame(host, {
    width,
    height: 330,
    label: `Performance profiles of ${lines.map((row) => row.name).join(", ")}`,
    x: {domain: [tau[0], tau.at(-1)], label: "normalised score τ (0 = floor, 1 = reference)"},
    y: {domain: [0, 1.02], label: "fraction of runs with a score above τ"},
  });
  const {inner, x, y} = axes;
  for (const row of lines) {
    const {low: lows, high: highs} = rows[row.key];
    inner.append(band(row, tau.map((t, i) => [x(t), place(y, lows[i]), place(y, highs[i])])));
  }
  for (const row of lines) {
    const {value} = rows[row.key];
    // The mark stands where the curve passes one half; at the ends all curves meet.
    const half = Math.max(0, value.findLastIndex((share) => share >= 0.5));
    inner.append(line(row, tau.map((t, i) => [x(t), y(value[i])]), half));
  }
  readout(axes, tau, (index) => {
    const at = ({key}) => [rows[key].value[index], rows[key].low[index], rows[key].high[index]];
    const ordered = [...lines].sort((a, b) => at(b)[0] - at(a)[0]);
    return {
      title: `score above ${number(tau[index], 2)}`,
      lines: ordered.map((row) => [row.name, row.name, triple(at(row), 2)]),
    };
  });
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
  const axes = frame(host, {
    width,
    height: 330,
    label: `Interquartile mean against ${word}: ${dots.map((row) => row.name).join(", ")}`,
    x: {domain: logExtent(dots.map((row) => row.cost[field])), log: true, label: `${label} (log scale)`},
    y: {domain: extent([0, 1, ...dots.flatMap((row) => row.iqm)]), label: "normalised IQM"},
  });
  const {inner, x, y} = axes;
  for (const at of [0, 1]) {
    inner.append(svg("line", {x1: axes.left, x2: axes.right, y1: y(at), y2: y(at), class: "reference"}));
  }
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
    const spot = dots.length <= 16 ? labelSpot(short(row.name, 24), cx, cy, taken, axes) : null;
    if (spot) group.append(svg("text", {...spot, class: "name"}, short(row.name, 24)));
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
