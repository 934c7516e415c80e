// The chart of a benchmark: two logarithmic axes, values under the pointer and the keyboard.
//
// It draws what aiki_kernel/display/plot_facts.py made, whose words it uses. Each line has a mark
// of its own shape besides its colour; the tables say the same once more.

import { dict, el, frame, keys, list, live, number, place, roving, said, say, svg, words } from "./aiki.js";

const [LEFT, RIGHT, TOP, BOTTOM] = [62, 12, 10, 40];
const NEAR = 28; // pixels within which the pointer means a point
const SHAPES = [
  "M-3.4 0a3.4 3.4 0 1 0 6.8 0a3.4 3.4 0 1 0 -6.8 0",
  "M-3 -3h6v6h-6z",
  "M0 -4.2L3.9 3h-7.8z",
  "M0 -4.2L4.2 0L0 4.2L-4.2 0z",
  "M0 4.2L3.9 -3h-7.8z",
];

// The facts, without what cannot be drawn.
export function read(plot) {
  const lines = list(plot.lines)
    .map((line, index) => ({
      name: words(dict(line).name),
      color: /^#[0-9a-f]{6}$/i.test(words(dict(line).color)) ? line.color : "#5f6b7a",
      quiet: Boolean(dict(line).quiet),
      shape: SHAPES[index % SHAPES.length],
      index,
      points: list(dict(line).points)
        .filter((point) => number(list(point)[0]) > 0 && number(list(point)[1]) > 0)
        .map(([x, y, xSaid, ySaid]) => ({ x, y, xSaid: words(xSaid), ySaid: words(ySaid), index })),
    }))
    .filter((line) => line.points.length);
  return { lines, x: axis(plot.x), y: axis(plot.y) };
}

function axis(given) {
  const { label, span, marks } = dict(given);
  const [low, high] = list(span);
  const whole = Number.isFinite(low) && Number.isFinite(high) && high > low;
  return {
    label: words(label),
    span: whole ? [low, high] : [0, 1],
    marks: list(marks).filter((mark) => number(list(mark)[0]) > 0),
  };
}

// From a number to a place, by its logarithm.
export function scale([low, high], start, end) {
  return (value) => start + ((Math.log10(value) - low) / (high - low)) * (end - start);
}

// The point that a key goes to from `here`: left and right along its line, up and down to the
// line above or below at the nearest place.
export function step(points, here, key) {
  if (key === "ArrowLeft" || key === "ArrowRight") {
    const line = points.filter((point) => point.index === here.index);
    return line[line.indexOf(here) + (key === "ArrowLeft" ? -1 : 1)] ?? here;
  }
  const up = key === "ArrowUp";
  const others = points.filter(
    (point) => point.index !== here.index && (up ? point.y > here.y : point.y < here.y),
  );
  const far = (point) =>
    4 * Math.abs(Math.log10(point.x / here.x)) + Math.abs(Math.log10(point.y / here.y));
  return others.reduce((best, point) => (best && far(best) <= far(point) ? best : point), null) ?? here;
}

function render({ model, el: host }) {
  const root = frame(host, "plot", "Chart");
  const title = el("h3");
  const subtitle = el("div", { class: "aiki-soft aiki-small" });
  const drawing = el("div", { class: "aiki-drawing" });
  const tip = el("div", { class: "aiki-tip", role: "status", hidden: true });
  const canvas = el("div", { class: "aiki-canvas" }, drawing, tip);
  const legend = el("div", { class: "aiki-legend", role: "group", "aria-label": "Lines" });
  const tables = el("details", {}, el("summary"), el("div", { class: "aiki-tables" }));
  const notes = el("div", { class: "aiki-soft" });
  root.append(title, subtitle, canvas, legend, tables, notes);

  const hidden = new Set(); // names of lines that are switched off
  let facts = read({});
  let shown = []; // the points on the drawing, with their nodes and places
  let current = null;

  function draw() {
    const width = Math.max(280, Math.min(760, Math.round(canvas.clientWidth || 720)));
    const height = Math.round(Math.max(230, width * 0.5));
    const across = scale(facts.x.span, LEFT, width - RIGHT);
    const down = scale(facts.y.span, height - BOTTOM, TOP);
    const held = drawing.contains(document.activeElement) && current;
    shown = [];
    const lines = facts.lines.filter((line) => !hidden.has(line.name));
    // Measured lines lie above the bounds they are compared with.
    const drawn = [...lines].sort((a, b) => b.quiet - a.quiet).map((line) => one(line, across, down));
    drawing.replaceChildren(
      svg(
        "svg",
        { viewBox: `0 0 ${width} ${height}`, width, height, role: "group", "aria-label": words(title.textContent) },
        ...axes(facts, across, down, width, height),
        ...drawn,
      ),
    );
    const again = held && shown.find((point) => same(point, held));
    const first = again || shown[0];
    if (first) first.node.setAttribute("tabindex", "0");
    if (again) again.node.focus();
    else pick(null);
  }

  function one(line, across, down) {
    const places = line.points.map((point) => [across(point.x), down(point.y)]);
    const path = places.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`);
    const made = svg("g", { class: line.quiet ? "aiki-curve aiki-bound" : "aiki-curve" });
    made.style.setProperty("--aiki-colour", line.color);
    made.append(svg("path", { d: path.join(""), class: "aiki-stroke" }));
    if (line.quiet) return made;
    line.points.forEach((point, i) => {
      const [x, y] = places[i];
      const node = svg("path", {
        d: line.shape,
        class: "aiki-point",
        transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})`,
        tabindex: "-1",
        role: "img",
        "aria-label": `${line.name}: ${point.ySaid} at ${point.xSaid} ${facts.x.label}`,
      });
      const entry = { ...point, line, at: [x, y], node };
      node.addEventListener("focus", () => pick(entry));
      node.addEventListener("blur", () => pick(null));
      shown.push(entry);
      made.append(node);
    });
    return made;
  }

  // Say a point's values beside it.
  function pick(point) {
    current?.node.classList.remove("aiki-chosen");
    current = point;
    tip.hidden = !point;
    if (!point) return;
    point.node.classList.add("aiki-chosen");
    place(tip, [
      el("strong", {}, said(point.line.name)),
      el("div", {}, `${point.ySaid} at ${point.xSaid} ${facts.x.label}`),
    ]);
    const [x, y] = point.at;
    const right = x > canvas.clientWidth / 2;
    tip.style.left = right ? "" : `${x + 12}px`;
    tip.style.right = right ? `${canvas.clientWidth - x + 12}px` : "";
    tip.style.top = `${Math.max(0, y - 20)}px`;
  }

  function point(event) {
    const box = drawing.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const far = ({ at }) => Math.hypot(at[0] - x, at[1] - y);
    const nearest = shown.reduce((best, one) => (best && far(best) <= far(one) ? best : one), null);
    const found = nearest && far(nearest) <= NEAR ? nearest : null;
    if (found !== current) pick(found);
  }
  drawing.addEventListener("pointermove", point);
  drawing.addEventListener("pointerleave", () => pick(null));

  const go = (key) => () => {
    if (!current || !drawing.contains(document.activeElement)) return false;
    const next = step(shown, shown.find((one) => same(one, current)), key);
    for (const { node } of shown) node.setAttribute("tabindex", node === next.node ? "0" : "-1");
    next.node.focus();
    return true;
  };
  keys(
    drawing,
    Object.fromEntries(["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"].map((k) => [k, go(k)])),
  );
  keys(drawing, { Escape: () => (current ? pick(null) : false) });

  function toggles() {
    legend.replaceChildren(
      ...facts.lines.map((line) => {
        const on = !hidden.has(line.name);
        const swatch = svg("svg", { class: "aiki-swatch", viewBox: "-6 -6 12 12", "aria-hidden": "true" });
        const key = line.quiet ? { d: "M-6 0h12", class: "aiki-stroke" } : { d: line.shape, class: "aiki-point" };
        swatch.append(svg("path", key));
        swatch.style.setProperty("--aiki-colour", line.color);
        const props = { class: "aiki-key", type: "button", "aria-pressed": on, data: { key: line.name } };
        return el("button", { ...props, onclick: (event) => toggle(line, event) }, swatch, said(line.name));
      }),
    );
  }
  const renew = roving(legend, "button");

  function toggle(line, event) {
    if (!hidden.delete(line.name)) hidden.add(line.name);
    event.currentTarget.setAttribute("aria-pressed", String(!hidden.has(line.name)));
    draw();
  }

  function show() {
    const plot = dict(model.get("plot"));
    facts = read(plot);
    say(title, words(plot.title));
    root.setAttribute("aria-label", words(plot.title) || "Chart");
    say(subtitle, [words(plot.subtitle), facts.y.label && `up: ${facts.y.label}`].filter(Boolean).join(" · "));
    const given = list(plot.tables).map(dict);
    tables.hidden = !given.length;
    say(tables.firstChild, given.length === 1 ? "Table" : `${given.length} tables`);
    tables.lastChild.replaceChildren(...given.map(table));
    notes.replaceChildren(...list(plot.notes).map((note) => el("p", {}, said(note))));
    toggles();
    renew();
    draw();
  }

  const end = live(model, ["plot"], show);
  let width = 0;
  const watcher = new ResizeObserver(() => {
    if (canvas.clientWidth === width) return;
    width = canvas.clientWidth;
    draw();
  });
  watcher.observe(canvas);
  return () => {
    watcher.disconnect();
    end();
  };
}

const same = (a, b) => a.index === b.index && a.x === b.x && a.y === b.y;

function axes(facts, across, down, width, height) {
  const made = [];
  for (const [value, text] of facts.y.marks) {
    const y = down(value);
    made.push(
      svg("line", { class: "aiki-rule", x1: LEFT, x2: width - RIGHT, y1: y, y2: y }),
      svg("text", { x: LEFT - 6, y: y + 4, "text-anchor": "end" }, words(text)),
    );
  }
  const free = [-Infinity, -Infinity]; // where the last number of each row ends
  for (const [value, text] of facts.x.marks) {
    const [x, half] = [across(value), 3.5 * words(text).length];
    const row = x - half < free[0] ? 1 : 0; // one too near to the one before goes below it
    free[row] = x + half + 7;
    const y2 = height - BOTTOM + 4 + 12 * row;
    made.push(
      svg("line", { class: "aiki-rule", x1: x, x2: x, y1: TOP, y2 }),
      svg("text", { x, y: y2 + 11, "text-anchor": "middle" }, words(text)),
    );
  }
  const name = { x: width - RIGHT, y: height - 1, "text-anchor": "end" };
  made.push(svg("text", name, `${facts.x.label} →`));
  return made;
}

function table(one) {
  const columns = list(one.columns).map(dict);
  const side = (i) => (columns[i]?.right ? "aiki-figure" : "");
  return el(
    "div",
    { class: "aiki-scroll", tabIndex: 0, role: "group", "aria-label": words(one.title) || "Table" },
    el(
      "table",
      { class: "aiki-table" },
      words(one.title) && el("caption", {}, said(one.title)),
      el("thead", {}, el("tr", {}, columns.map((c, i) => el("th", { scope: "col", class: side(i) }, words(c.title))))),
      el(
        "tbody",
        {},
        list(one.rows).map((row) => el("tr", {}, list(row).map((cell, i) => el("td", { class: side(i) }, said(cell))))),
      ),
    ),
  );
}

export default { render };
