import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import * as chart from "../bench_plot.js";
import { mount, press } from "./model.js";

const line = (name, points, more = {}) => ({ name, color: "#c2410c", quiet: false, points, ...more });
const point = (x, y) => [x, y, `${x}`, `${y} ms`];
const plot = (more = {}) => ({
  title: "Vector search",
  subtitle: "384 dimensions",
  x: { label: "memories", span: [2.9, 5.1], marks: [[1000, "1,000"], [100000, "100,000"]] },
  y: { label: "time", span: [-1, 2], marks: [[0.1, "100 µs"], [100, "100 ms"]] },
  lines: [
    line("mojo", [point(1000, 0.1), point(100000, 1)]),
    line("numpy", [point(1000, 1), point(100000, 90)]),
    line("floor", [point(1000, 0.1), point(100000, 0.5)], { quiet: true }),
  ],
  tables: [{ title: "sizes", columns: [{ title: "method" }, { title: "ms", right: true }], rows: [["mojo", "0.1"]] }],
  notes: ["Once."],
  ...more,
});

beforeEach(() => {
  globalThis.ResizeObserver = class {
    observe() {}
    disconnect() {}
  };
});
afterEach(() => {
  document.body.replaceChildren();
  vi.restoreAllMocks();
});

describe("places", () => {
  it("goes by logarithms", () => {
    const at = chart.scale([0, 2], 100, 300);
    expect([at(1), at(10), at(100)]).toEqual([100, 200, 300]);
  });

  it("reads what can be drawn and nothing else", () => {
    const odd = [line("a", [[0, 1], [1, -1], ["1", 1], null, [1, 2]]), line("b", []), null, "x"];
    const facts = chart.read({ lines: odd, x: { span: [3, 1] }, y: null });
    expect(facts.lines.map((one) => one.name)).toEqual(["a"]);
    expect(facts.lines[0].points).toHaveLength(1);
    expect([facts.x.span, facts.y.marks]).toEqual([[0, 1], []]);
  });

  it("takes no colour that is not one", () => {
    const lines = [line("a", [point(1, 1)], { color: "red;background:url(x)" })];
    expect(chart.read({ lines }).lines[0].color).toBe("#5f6b7a");
  });

  it("steps along a line and to the next one", () => {
    const points = chart.read(plot()).lines.slice(0, 2).flatMap((one) => one.points);
    const [a, b, c, d] = points;
    expect(chart.step(points, a, "ArrowRight")).toBe(b);
    expect(chart.step(points, b, "ArrowRight")).toBe(b);
    expect(chart.step(points, a, "ArrowUp")).toBe(c);
    expect(chart.step(points, d, "ArrowDown")).toBe(b);
    expect(chart.step(points, a, "ArrowDown")).toBe(a);
  });
});

describe("the chart", () => {
  it("gives each measured point a name, and one stop for Tab", () => {
    const { all, end } = mount(chart, { plot: plot() });
    const points = all(".aiki-point[role=img]");
    expect(points.map((node) => node.getAttribute("aria-label"))).toEqual([
      "mojo: 0.1 ms at 1000 memories",
      "mojo: 1 ms at 100000 memories",
      "numpy: 1 ms at 1000 memories",
      "numpy: 90 ms at 100000 memories",
    ]);
    expect(points.filter((node) => node.getAttribute("tabindex") === "0")).toHaveLength(1);
    end();
  });

  it("says a point's values when it has the keyboard, and Escape takes them away", () => {
    const { one, all, end } = mount(chart, { plot: plot() });
    const points = all(".aiki-point[role=img]");
    points[0].dispatchEvent(new FocusEvent("focus"));
    expect(one(".aiki-tip").hidden).toBe(false);
    expect(one(".aiki-tip").textContent).toBe("mojo0.1 ms at 1000 memories");
    press(points[0], "Escape");
    expect(one(".aiki-tip").hidden).toBe(true);
    end();
  });

  it("switches a line off and on", () => {
    const { one, all, end } = mount(chart, { plot: plot() });
    const [mojo] = all(".aiki-key");
    mojo.click();
    expect(mojo.getAttribute("aria-pressed")).toBe("false");
    expect(all(".aiki-point[role=img]")).toHaveLength(2);
    mojo.click();
    expect(mojo.getAttribute("aria-pressed")).toBe("true");
    expect(all(".aiki-point[role=img]")).toHaveLength(4);
    expect(one(".aiki-legend").querySelectorAll("[tabindex='0']")).toHaveLength(1);
    end();
  });

  it("says the same in tables, as text", () => {
    const evil = "<img src=x>";
    const tables = [{ title: evil, columns: [{ title: evil }], rows: [[evil]] }];
    const { one, all, end } = mount(chart, { plot: plot({ tables, notes: [evil], title: evil }) });
    expect(all("img")).toEqual([]);
    expect(one("td").textContent).toBe(evil);
    expect(one("summary").textContent).toBe("Table");
    end();
  });

  it("survives a plot of any shape, and leaves nothing behind", () => {
    for (const odd of [null, {}, { lines: 3, x: [], tables: [null, { rows: [3] }] }]) {
      const { model, end } = mount(chart, { plot: odd });
      end();
      expect(model.listeners()).toBe(0);
    }
  });
});
