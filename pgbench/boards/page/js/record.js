// The panel of one run: what it was, how it went, the command that runs it again.

const dialog = $("#page-record");
let store = null;
let address = "";

// The records are most of the document's bytes: read when the first one is asked for.
function allRecords() {
  if (!store) {
    const {fields, pool, records} = JSON.parse($("#page-records").textContent);
    for (const record of Object.values(records)) {
      for (const field of fields.filter((name) => name in record)) record[field] = pool[record[field]];
    }
    store = records;
  }
  return store;
}

function openFromHash() {
  const [, prefix] = fragment(location.hash).match(/^record=(.*)$/) || [];
  if (!prefix) {
    if (dialog.open) dialog.close();
    address = location.hash;
    return;
  }
  const ids = Object.keys(allRecords()).filter((id) => id.startsWith(prefix.toLowerCase()));
  const content = ids.length === 1 ? recordPanel(ids[0], store[ids[0]]) : notOne(prefix, ids.length);
  const close = html("button", {type: "button", class: "close", "aria-label": "close", click: () => dialog.close()}, "×");
  dialog.replaceChildren(close, html("div", {class: "sheet"}, ...content));
  tip.hide();
  if (!dialog.open) dialog.showModal();
  $(".sheet", dialog).scrollTop = 0;
}

// The record leaves the address with its panel; the section that was there comes back.
dialog.addEventListener("close", () => {
  if (location.hash.startsWith("#record=")) {
    history.replaceState(null, "", address || location.pathname + location.search);
  }
});
dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close();
});

function notOne(prefix, count) {
  const text = count
    ? `${count} records start with ${short(prefix, 64)}: give more digits.`
    : `No record of this board starts with ${short(prefix, 64)}.`;
  return [html("h2", {id: "page-record-title"}, "Record not found"), html("p", {}, text)];
}

function terms(pairs) {
  const known = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return html("dl", {class: "terms"}, ...known.map(([term, value]) =>
    html("div", {}, html("dt", {}, term), html("dd", {}, value))));
}

function block(title, ...content) {
  return html("section", {}, html("h3", {}, title), ...content);
}

function environmentOf(record) {
  const track = model.tracks.find(({name}) => name === record.track);
  return {track, environment: track?.environments.find(({id}) => id === record.environment)};
}

// The neighbours of a run are the other seeds of its row.
function neighbours(id, {track}, record) {
  const row = track?.tasks[record.environment]?.find(({scores}) => scores.some((run) => run.record === id));
  if (!row) return null;
  const runs = [...row.scores].sort((a, b) => a.seed - b.seed).filter((run) => allRecords()[run.record]);
  const links = runs.map((run) => {
    const here = run.record === id;
    const attributes = {href: `#record=${run.record.slice(0, 12)}`, "aria-current": here ? "true" : null};
    return html("a", attributes, String(run.seed));
  });
  return html("p", {class: "seeds-of"}, "seeds ", ...links);
}

function recordPanel(id, record) {
  const place = environmentOf(record);
  const digits = scoreDigits[record.track]?.[record.environment] ?? 3;
  const {metric} = place.environment || {metric: {name: "score", unit: ""}};
  const finished = record.status === "finished";
  const score = finished ? number(record.score, digits) : record.status;
  const unit = finished ? ` ${metric.name}${metric.unit ? `, ${metric.unit}` : ""}` : "";
  const parts = [
    html("p", {class: "over"}, `Record ${id.slice(0, 12)}`),
    html("h2", {id: "page-record-title"}, `${record.algorithm}, ${record.environment}, seed ${record.seed}`),
    neighbours(id, place, record),
    html("p", {class: finished ? "score" : "score bad"}, html("strong", {}, score), unit),
  ];
  if (record.error) parts.push(html("p", {class: "error"}, record.error));
  if (record.command) {
    const command = html("div", {class: "command"}, html("code", {}, record.command), copyButton(record.command));
    parts.push(block("Run it again", command));
  }
  if (record.curve?.length > 1) parts.push(block("Learning curve", runCurve(record, place, metric)));
  if (record.episodes?.length) {
    parts.push(block(`Final episodes (${record.episodes.length})`, episodeStrip(record.episodes, digits)));
  }
  const stamps = (record.stamps || []).map(({kind, by, created}) => [kind, `by ${by}, ${String(created).slice(0, 10)}`]);
  parts.push(block("Stamps", stamps.length ? terms(stamps) : html("p", {class: "note"}, "none: claimed by its author only")));
  parts.push(block("Provenance", provenanceOf(id, record)));
  parts.push(block("Settings", settings(record)));
  parts.push(block("Packages", terms(Object.entries(record.packages || {}).sort())));
  return parts.filter(Boolean);
}

function provenanceOf(id, record) {
  const code = (text) => (text ? html("code", {class: "long"}, text) : null);
  return terms([
    ["record", html("span", {}, code(id), " ", copyButton(id))],
    ["parameters' checksum", code(record.checksum)],
    ["commit", record.commit && html("span", {}, code(record.commit), record.dirty ? " with local changes" : "")],
    ["track", record.track],
    ["training seed", String(record.train_seed ?? "")],
    ["created", record.created],
    ["machine", record.machine],
    ["Python", record.python],
    ["wall time", record.wall_s == null ? null : duration(record.wall_s)],
    ["CPU time", record.cpu_s == null ? null : duration(record.cpu_s)],
    ["resumed", record.resumed ? `${record.resumed} times` : "never"],
  ]);
}

function settings(record) {
  const changed = new Set(record.changed || []);
  const entries = Object.entries(record.config || {}).sort(([a], [b]) => (a < b ? -1 : 1));
  const text = (value) => (typeof value === "string" ? value : JSON.stringify(value));
  return html("dl", {class: "terms"}, ...entries.map(([key, value]) =>
    html("div", {class: changed.has(key) ? "changed" : null},
      html("dt", {}, key),
      html("dd", {}, text(value), changed.has(key) ? html("small", {}, " changed") : null))));
}

function runCurve(record, {track, environment}, metric) {
  const host = html("div", {class: "panel run"});
  const points = record.curve.map(([step, score]) => ({step, score}));
  drawn(host, null, (node, width) => {
    const values = points.map(({score}) => score);
    const axes = frame(node, {
      width,
      height: 190,
      label: `Learning curve of seed ${record.seed}`,
      x: {domain: [0, Math.max(track?.budget ?? 0, ...points.map(({step}) => step))], label: track?.unit},
      y: {domain: extent([...values, environment?.floor]), label: metric.name},
    });
    const path = linePath(points.map(({step, score}) => [axes.x(step), axes.y(score)]));
    axes.inner.append(svg("path", {d: path, class: "line ink"}));
    readout(axes, points.map(({step}) => step), (i) => ({
      title: `${number(points[i].step)} ${track?.unit ?? "steps"}`,
      lines: [[null, metric.name, number(points[i].score, 2)]],
    }));
  });
  return host;
}

function episodeStrip(episodes, digits) {
  const host = html("div", {class: "panel episodes"});
  drawn(host, null, (node, width) => {
    const [low, high] = extent(episodes, 0);
    const x = linear([low, high], [8, width - 8]);
    const root = svg("svg", {class: "plot", width, height: 44, role: "img", "aria-label": `Scores of ${episodes.length} episodes`});
    root.append(svg("line", {x1: 8, x2: width - 8, y1: 16, y2: 16, class: "grid"}));
    episodes.forEach((score, i) => {
      const dot = svg("circle", {cx: x(score), cy: 16 + ((i % 3) - 1) * 6, r: 3.5, class: "episode"});
      dot.addEventListener("pointermove", (event) => tip.show(event.clientX, event.clientY, `episode ${i}: ${number(score, digits)}`));
      dot.addEventListener("pointerleave", () => tip.hide());
      root.append(dot);
    });
    for (const [at, anchor] of [[low, "start"], [high, "end"]]) {
      root.append(svg("text", {x: anchor === "start" ? 0 : width, y: 42, class: "tick", "text-anchor": anchor}, number(at, digits)));
    }
    node.append(root);
  });
  return host;
}
