// What a run's evaluator measured beside the scores; only on boards with such runs (page/__init__.py).

const panelWithout = recordPanel;

recordPanel = function (id, record) {
  const parts = panelWithout(id, record);
  const stamps = parts.findIndex((part) => $("h3", part)?.textContent === "Stamps");
  const found = Object.entries(record.details || {}).sort(([a], [b]) => (a < b ? -1 : 1));
  const numbers = found.filter(([, value]) => !Array.isArray(value));
  const blocks = found.filter(([, value]) => value.length).map(([name, value]) => block(name, detail(name, value)));
  if (numbers.length) blocks.unshift(block("Measured", terms(numbers.map(([name, value]) => [name, figure(value)]))));
  parts.splice(stamps, 0, ...blocks);
  return parts;
};

function figure(value) {
  return String(Number(value.toPrecision(6)));
}

// Points (n, 2) in their order, a row of numbers over its index; wider tables as tables.
function detail(name, value) {
  const rows = Array.isArray(value[0]) ? value : value.map((number, i) => [i, number]);
  if (rows[0].length === 2) return detailPlot(name, rows, value !== rows);
  const cells = (row) => html("tr", {}, ...row.map((number) => html("td", {}, figure(number))));
  return html("div", {class: "scroll"}, html("table", {class: "detail"}, html("tbody", {}, ...rows.map(cells))));
}

function detailPlot(name, points, indexed) {
  const host = html("div", {class: "panel run detail"});
  drawn(host, null, (node, width) => {
    const axes = frame(node, {
      width,
      height: 190,
      label: `${name}: ${points.length} points`,
      x: {domain: extent(points.map(([x]) => x)), label: indexed ? "index" : null},
      y: {domain: extent(points.map(([, y]) => y)), label: name},
    });
    const places = points.map(([x, y]) => [axes.x(x), axes.y(y)]);
    axes.inner.append(svg("path", {d: linePath(places), class: "line ink"}));
    for (const [cx, cy] of places) axes.inner.append(svg("circle", {cx, cy, r: 3, class: "episode"}));
    readout(axes, points.map(([x]) => x), (i) => ({
      title: `${indexed ? "index " : ""}${figure(points[i][0])}`,
      lines: [[null, name, figure(points[i][1])]],
    }));
  });
  return host;
}
