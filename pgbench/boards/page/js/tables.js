// Tables: sorting by a click on a head, filters of a track, seeds by the arrow keys.

function sortable(table) {
  const heads = $$("thead th", table);
  const body = $("tbody", table);
  const original = $$("tr[data-key]", body);
  if (!original.length) return;
  // The tables arrive sorted by rank, which is ascending.
  heads.forEach((head, column) => {
    const label = $(".label", head);
    const button = html("button", {type: "button", class: "sort"}, ...label.childNodes);
    label.replaceChildren(button);
    head.setAttribute("aria-sort", column === 0 ? "ascending" : "none");
    button.addEventListener("click", () => {
      const now = head.getAttribute("aria-sort");
      const other = {ascending: "descending", descending: "ascending"};
      const first = head.dataset.first === "asc" ? "ascending" : "descending";
      const order = other[now] || first;
      for (const each of heads) each.setAttribute("aria-sort", each === head ? order : "none");
      // By rank is the order of the page: best first also among rows that share a rank.
      const rows = column === 0 ? [...original] : sorted(original, column, order);
      if (column === 0 && order === "descending") rows.reverse();
      body.append(...rows);
      ties(table);
    });
  });
}

// Brackets around visible rows of one rank; none where the rows are not sorted by rank.
function ties(table) {
  const byRank = $("thead th", table).getAttribute("aria-sort") === "ascending";
  const lines = $$("tr[data-key]", table).filter((line) => !line.hidden);
  const rank = (line) => line?.cells[0].dataset.v;
  lines.forEach((line, i) => {
    const [above, below] = [lines[i - 1], lines[i + 1]].map((other) => other && rank(other) === rank(line));
    line.classList.remove("tie", "first", "middle", "last");
    if (!byRank || rank(line) === undefined || !(above || below)) return;
    line.classList.add("tie", above && below ? "middle" : above ? "last" : "first");
  });
}

// A stable sort; rows without a value stay last in both directions.
function sorted(rows, column, order) {
  const sign = order === "ascending" ? 1 : -1;
  const numeric = !["word", "name"].some((kind) => rows[0].cells[column].classList.contains(kind));
  const value = (row) => {
    const text = row.cells[column].dataset.v;
    return text === undefined ? null : numeric ? Number(text) : text;
  };
  return [...rows].sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === null || y === null) return (x === null) - (y === null);
    return sign * (numeric ? x - y : x < y ? -1 : x > y ? 1 : 0);
  });
}

// What a track shows: the filter holds for its tables and figures, the legend for its figures.
class Shown extends EventTarget {
  constructor(track, section) {
    super();
    this.track = track;
    this.section = section;
    const all = [...track.rows, ...Object.values(track.tasks).flat()];
    this.rows = [...new Map(all.map((row) => [row.key, row]).reverse()).values()].reverse();
    const order = new Map(track.rows.map((row, i) => [row.key, i]));
    this.rows.sort((a, b) => (order.get(a.key) ?? 1e9) - (order.get(b.key) ?? 1e9));
    // More lines than names have room for cannot be told apart; the rest waits in the legend.
    this.off = new Set(this.rows.slice(this.rows.length > 24 ? 10 : 24).map((row) => row.key));
    this.filter = {text: "", evidence: "", tuning: ""};
  }

  passes({name, evidence, tuning}) {
    const {filter} = this;
    return filter.text.toLowerCase().split(/\s+/).every((word) => name.toLowerCase().includes(word))
      && (!filter.evidence || filter.evidence === evidence)
      && (!filter.tuning || filter.tuning === tuning);
  }

  listed() {
    return this.rows.filter((row) => this.passes(row));
  }

  visible() {
    return this.listed().filter((row) => !this.off.has(row.key));
  }

  changed() {
    this.dispatchEvent(new Event("change"));
  }
}

function controls(shown) {
  const host = $(".controls", shown.section);
  if (shown.rows.length < 2) return;
  const count = html("output", {class: "count"});
  const lines = $$("tr[data-key]", shown.section);
  const apply = () => {
    for (const line of lines) line.hidden = !shown.passes(line.dataset);
    $$("table.aggregate, table.task", shown.section).forEach(ties);
    const left = shown.listed().length;
    count.textContent = left === shown.rows.length ? "" : `${left} of ${shown.rows.length} rows; ranks as before`;
    shown.changed();
  };
  const input = html("input", {type: "search", placeholder: "Filter algorithms", "aria-label": "Filter by name"});
  input.addEventListener("input", () => {
    shown.filter.text = input.value.trim();
    apply();
  });
  const choice = (field) => {
    const values = [...new Set(shown.rows.map((row) => row[field]))].sort();
    const options = values.map((value) => html("option", {value}, value));
    const select = html("select", {}, html("option", {value: ""}, "any"), ...options);
    select.addEventListener("change", () => {
      shown.filter[field] = select.value;
      apply();
    });
    return html("label", {}, field, select);
  };
  host.append(input, choice("evidence"), choice("tuning"), count);
  host.hidden = false;
}

// A strip is one stop of the Tab key; the arrow keys walk along its seeds.
function strips() {
  for (const strip of $$("svg.seeds")) {
    $$("a", strip).forEach((dot, i) => dot.setAttribute("tabindex", i ? -1 : 0));
  }
  const show = (event) => {
    const dot = event.target.closest?.("svg.seeds > *[aria-label]");
    if (!dot) return tip.hide();
    const box = dot.getBoundingClientRect();
    const name = dot.closest("tr").dataset.name;
    tip.show(box.right, box.bottom, dot.getAttribute("aria-label"), [[name, name, ""]]);
  };
  for (const table of $$("table.task")) {
    table.addEventListener("pointerover", show);
    table.addEventListener("pointerleave", () => tip.hide());
    table.addEventListener("focusin", show);
    table.addEventListener("focusout", () => tip.hide());
    table.addEventListener("keydown", (event) => {
      const step = {ArrowRight: 1, ArrowLeft: -1}[event.key];
      const dot = event.target.closest("svg.seeds a");
      if (!step || !dot) return;
      const dots = $$("a", dot.parentNode);
      const next = dots[(dots.indexOf(dot) + step + dots.length) % dots.length];
      dot.setAttribute("tabindex", -1);
      next.setAttribute("tabindex", 0);
      next.focus();
      event.preventDefault();
    });
  }
}

function legend(shown) {
  const host = $(".legend", shown.section);
  if (!host) return;
  const ranks = new Map(shown.track.rows.map((row) => [row.key, row.rank]));
  const rank = ({key}) => (ranks.get(key) == null ? null : html("small", {}, String(ranks.get(key))));
  const fill = () => {
    const chips = shown.listed().map((row) => {
      const on = !shown.off.has(row.key);
      const attributes = {type: "button", class: "chip", "aria-pressed": String(on), "data-key": row.key, title: row.name};
      const chip = html("button", attributes, markOf(row.name), rank(row), short(row.name, 40));
      chip.addEventListener("click", () => {
        if (!shown.off.delete(row.key)) shown.off.add(row.key);
        shown.changed();
        // The chips are new: the focus stays where it was.
        $$(".chip", host).find((each) => each.dataset.key === row.key)?.focus();
      });
      chip.addEventListener("pointerenter", () => highlight(shown, row.key));
      chip.addEventListener("pointerleave", () => highlight(shown, null));
      return chip;
    });
    const all = (label, off) => html("button", {type: "button", class: "all", click: () => {
      shown.off = new Set(off);
      shown.changed();
    }}, label);
    const ends = [all("all", []), all("none", shown.rows.map((row) => row.key))];
    host.replaceChildren(...chips, html("span", {class: "ends"}, ...ends));
  };
  shown.addEventListener("change", fill);
  fill();
}

// One series stands out, the others fade.
function highlight(shown, key) {
  for (const plot of $$(".figures .plot", shown.section)) focusOn(plot, key);
}

function focusOn(plot, key) {
  for (const node of $$("[data-series], [data-name]", plot)) {
    const own = (node.dataset.series ?? node.dataset.name) === key;
    node.classList.toggle("faded", key !== null && !own);
    node.classList.toggle("lit", own);
  }
}
