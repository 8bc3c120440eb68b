// Probability of improvement: a matrix of all pairs, and one row of it with its intervals.

function pairTable(track) {
  const table = new Map();
  const put = (a, b, value) => table.set(`${a}\n${b}`, value);
  for (const pair of track.pairs) {
    const {a, b, probability: [value, low, high], difference: [d, dLow, dHigh], p, p_holm} = pair;
    const turned = (number) => (number === null ? null : 1 - number);
    const minus = (number) => (number === null ? null : -number);
    put(a, b, {chance: [value, low, high], difference: [d, dLow, dHigh], p, p_holm});
    put(b, a, {
      chance: [turned(value), turned(high), turned(low)],
      difference: [minus(d), minus(dHigh), minus(dLow)],
      p,
      p_holm,
    });
  }
  return (a, b) => table.get(`${a}\n${b}`);
}

function pValue(value) {
  if (value === null) return NONE;
  return value < 0.001 ? "< 0.001" : number(value, 3);
}

function pairText(a, b, pair) {
  return {
    title: `${short(a.name, 36)} against ${short(b.name, 36)}`,
    lines: [
      [null, "P(better)", triple(pair.chance, 2)],
      [null, "difference of means", triple(pair.difference, 2)],
      [null, "p", pValue(pair.p)],
      [null, "p (Holm)", pValue(pair.p_holm)],
    ],
  };
}

function pairPlots(host, shown) {
  const find = pairTable(shown.track);
  const paired = new Set(shown.track.pairs.flatMap(({a, b}) => [a, b]));
  const rows = () => shown.visible().filter((row) => paired.has(row.key));
  // Of a large board only the first row is paired with all others: there is no matrix.
  const whole = shown.track.pairs.length === (paired.size * (paired.size - 1)) / 2;
  const state = {chosen: whole ? null : shown.track.pairs[0].a};
  const matrix = html("div", {class: "panel matrix"});
  const forest = html("div", {class: "panel forest"});
  host.append(...(whole ? [matrix, forest] : [forest]));
  // Room from the start: what lies below must not move when the plots are drawn.
  matrix.style.minHeight = `${30 + 32 * Math.min(12, rows().length)}px`;
  forest.style.minHeight = `${64 + 26 * (rows().length - 1)}px`;
  const current = () => (whole ? rows() : shown.rows).find((row) => row.key === state.chosen) || rows()[0];
  const drawForest = drawn(forest, shown, (node, width) => {
    const row = current();
    if (!row) return;
    const choose = (key) => {
      state.chosen = key;
      drawForest(true);
      drawMatrix(true);
    };
    const options = (whole ? rows() : [row]).map(({key, name}) => html("option", {value: key, selected: key === row.key}, name));
    const id = `row-${shown.section.id}`;
    const select = html("select", {id, "aria-label": "Algorithm"}, ...options);
    select.addEventListener("change", () => choose(select.value));
    node.append(html("label", {class: "choice"}, "chance that a run of ", select, " is better than one of"));
    forestPlot(node, width, row, rows().filter((other) => other !== row), find);
  });
  const drawMatrix = drawn(matrix, shown, (node, width) => {
    matrixPlot(node, width, rows(), find, current(), (row) => {
      state.chosen = row.key;
      drawForest(true);
      drawMatrix(true);
    });
  });
}

function matrixPlot(host, width, rows, find, chosen, choose) {
  if (rows.length < 2) return;
  const small = rows.length > 12;
  const length = width < 420 ? 12 : 26;
  const side = Math.min(190, 18 + 6.2 * Math.max(...rows.map((row) => Math.min(row.name.length, length))));
  const head = small ? 8 : 26;
  const cell = Math.min(46, Math.max(small ? 6 : 24, (width - side - 2) / rows.length));
  const high = small ? cell : Math.min(cell, 32);
  const size = [side + cell * rows.length + 2, head + high * rows.length + 4];
  const root = svg("svg", {
    class: "plot", width: Math.min(size[0], width), height: size[1], viewBox: `0 0 ${size[0]} ${size[1]}`,
    role: "img", "aria-label": "Probability that the row's algorithm beats the column's",
  });
  const level = 1 - model.statistics.level;
  rows.forEach((row, i) => {
    const y = head + i * high;
    if (!small) {
      root.append(svg("g", {transform: `translate(${side + (i + 0.5) * cell} 12)`}, markAt(row.name, 0, 0)));
      const kind = `tick name${row === chosen ? " chosen" : ""}`;
      root.append(svg("g", {}, markAt(row.name, 7, y + high / 2),
        svg("text", {x: 18, y: y + high / 2 + 4, class: kind}, short(row.name, length))));
    }
    rows.forEach((column, j) => {
      const pair = find(row.key, column.key);
      if (!pair || pair.chance[0] === null) return;
      const [chance] = pair.chance;
      const strength = Math.min(1, Math.abs(chance - 0.5) * 2) * 0.55;
      const x = side + j * cell;
      const group = svg("g", {class: "pair"});
      group.append(svg("rect", {
        x: x + 1, y: y + 1, width: cell - 2, height: high - 2, rx: small ? 0 : 3,
        class: chance >= 0.5 ? "win" : "loss", "fill-opacity": strength.toFixed(3),
      }));
      if (!small) {
        const sure = pair.p_holm !== null && pair.p_holm < level;
        const text = {x: x + cell / 2, y: y + high / 2 + 4, "text-anchor": "middle", class: sure ? "cell sure" : "cell"};
        root.append(group);
        group.append(svg("text", text, number(chance, 2)));
      } else root.append(group);
      const {title, lines} = pairText(row, column, pair);
      group.addEventListener("pointermove", (event) => tip.show(event.clientX, event.clientY, title, lines));
      group.addEventListener("pointerleave", () => tip.hide());
      group.addEventListener("click", () => choose(row));
    });
  });
  host.append(root);
}

function forestPlot(host, width, row, others, find) {
  const pairs = others.map((other) => [other, find(row.key, other.key)]).filter(([, pair]) => pair);
  if (!pairs.length) return;
  const length = width < 420 ? 14 : 24;
  const left = 22 + 6.2 * Math.max(...pairs.map(([other]) => Math.min(other.name.length, length)));
  const right = width - 118;
  const high = 26;
  const bottom = 8 + pairs.length * high;
  const x = linear([0, 1], [left, Math.max(right, left + 60)]);
  const root = svg("svg", {
    class: "plot", width, height: bottom + 24, viewBox: `0 0 ${width} ${bottom + 24}`,
    role: "img", "aria-label": `Probability that ${row.name} is better than each other algorithm`,
  });
  for (const {at, text} of x.ticks(x(1) - x(0) > 220 ? 5 : 2)) {
    root.append(svg("line", {x1: x(at), x2: x(at), y1: 4, y2: bottom, class: at === 0.5 ? "reference" : "grid"}));
    root.append(svg("text", {x: x(at), y: bottom + 16, class: "tick", "text-anchor": "middle"}, text));
  }
  root.append(svg("line", {x1: x(0.5), x2: x(0.5), y1: 4, y2: bottom, class: "reference"}));
  pairs.forEach(([other, pair], i) => {
    const y = 8 + (i + 0.5) * high;
    const [chance, low, up] = pair.chance;
    const group = svg("g", {"data-series": other.key});
    group.append(svg("rect", {x: 0, y: y - high / 2, width, height: high, class: "area"}));
    group.append(markAt(other.name, 7, y), svg("text", {x: 18, y: y + 4, class: "tick name"}, short(other.name, length)));
    if (low !== null && up !== null) {
      group.append(svg("line", {x1: x(low), x2: x(up), y1: y, y2: y, class: `whisker ${seriesClass(other.name)}`}));
    }
    if (chance !== null) group.append(markAt(other.name, x(chance), y));
    group.append(svg("text", {x: width, y: y + 4, class: "cell", "text-anchor": "end"}, triple(pair.chance, 2)));
    const {title, lines} = pairText(row, other, pair);
    group.addEventListener("pointermove", (event) => tip.show(event.clientX, event.clientY, title, lines));
    group.addEventListener("pointerleave", () => tip.hide());
    root.append(group);
  });
  host.append(root);
}
