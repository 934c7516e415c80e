import { afterEach, describe, expect, it, vi } from "vitest";
import * as aiki from "../aiki.js";
import { press, settled } from "./model.js";

afterEach(() => document.body.replaceChildren());

describe("reading", () => {
  it.each([
    [3, 3],
    [0, 0],
    [-1, null],
    [Number.NaN, null],
    [Number.POSITIVE_INFINITY, null],
    [2e15, null],
    ["3", null],
    [true, null],
    [null, null],
  ])("number(%s) is %s", (given, found) => expect(aiki.number(given)).toBe(found));

  it("takes lists and dicts for what they are", () => {
    expect([aiki.list({}), aiki.list(null), aiki.list([1])]).toEqual([[], [], [1]]);
    expect([aiki.dict([]), aiki.dict("x"), aiki.dict({ a: 1 })]).toEqual([{}, {}, { a: 1 }]);
    expect([aiki.words(null), aiki.words(undefined), aiki.words(0)]).toEqual(["", "", "0"]);
  });
});

describe("making", () => {
  it("never reads text as markup", () => {
    const evil = "<img src=x onerror=hurt()>";
    const made = aiki.el("p", { title: evil }, evil, aiki.said(evil), [evil]);
    expect(made.querySelector("img")).toBeNull();
    expect(made.textContent).toBe(evil.repeat(3));
    expect(made.title).toBe(evil);
  });

  it("sets properties, dataset, style and attributes", () => {
    const pressed = vi.fn();
    const made = aiki.el("button", {
      class: "aiki-button",
      disabled: false,
      hidden: true,
      data: { key: "stop" },
      style: { "--aiki-colour": "red", width: "3px" },
      "aria-label": "Stop",
      "aria-pressed": false,
      list: "names",
      onclick: pressed,
      title: null,
    });
    made.click();
    expect(pressed).toHaveBeenCalledOnce();
    expect(made.className).toBe("aiki-button");
    expect(made.hidden).toBe(true);
    expect(made.dataset.key).toBe("stop");
    expect(made.style.getPropertyValue("--aiki-colour")).toBe("red");
    expect(made.getAttribute("aria-label")).toBe("Stop");
    expect(made.getAttribute("aria-pressed")).toBe("false");
    expect(made.getAttribute("list")).toBe("names");
    expect(made.hasAttribute("title")).toBe(false);
  });

  it("leaves out children that are not there, and keeps zero", () => {
    expect(aiki.el("p", {}, null, undefined, false, "a", 0).textContent).toBe("a0");
  });

  it("draws with SVG's own elements", () => {
    const made = aiki.svg("svg", { role: "img" }, aiki.svg("path", { d: "M0 0", id: null }));
    expect(made.namespaceURI).toBe("http://www.w3.org/2000/svg");
    expect(made.firstChild.getAttribute("d")).toBe("M0 0");
    expect(made.firstChild.hasAttribute("id")).toBe(false);
  });

  it("leaves nodes that are in their place alone", () => {
    const [parent, a, b] = ["ul", "li", "li"].map((tag) => aiki.el(tag));
    parent.append(a, b);
    const replaced = vi.spyOn(parent, "replaceChildren");
    aiki.place(parent, [a, b]);
    expect(replaced).not.toHaveBeenCalled();
    aiki.place(parent, [b, a]);
    expect([...parent.children]).toEqual([b, a]);
  });

  it("writes a live region only when it changes", () => {
    const node = aiki.el("span", {}, "writing");
    const before = node.firstChild;
    aiki.say(node, "writing");
    expect(node.firstChild).toBe(before);
    aiki.say(node, "remembering");
    expect(node.textContent).toBe("remembering");
  });

  it("frames a widget, and Escape gives the keyboard back to the cell", () => {
    const cell = aiki.el("div", { class: "jp-Cell", tabIndex: -1 }, aiki.el("div"));
    document.body.append(cell);
    const root = aiki.frame(cell.firstChild, "card", "About this answer");
    expect(root.className).toBe("aiki aiki-card");
    expect(root.getAttribute("aria-label")).toBe("About this answer");
    expect(root.hasAttribute("data-lm-suppress-shortcuts")).toBe(true);
    root.append(aiki.el("button"));
    root.firstChild.focus();
    expect(root.firstChild.dataset.lmSuppressShortcuts).toBe("true");
    press(root.firstChild, "Escape");
    expect(document.activeElement).toBe(cell);
  });
});

describe("following", () => {
  const events = () => {
    const listeners = {};
    return {
      on: (name, f) => (listeners[name] = f),
      off: (name) => delete listeners[name],
      say: (...names) => names.forEach((name) => listeners[name]?.()),
    };
  };

  it("redraws at once, then once a message", async () => {
    const [model, redraw] = [events(), vi.fn()];
    aiki.live(model, ["a", "b"], redraw);
    expect(redraw).toHaveBeenCalledTimes(1);
    model.say("change:a", "change:b");
    await settled();
    expect(redraw).toHaveBeenCalledTimes(2);
    model.say("change:b");
    await settled();
    expect(redraw).toHaveBeenCalledTimes(3);
  });

  it("ends, also for what was asked for already", async () => {
    const [model, redraw] = [events(), vi.fn()];
    const end = aiki.live(model, ["a"], redraw);
    model.say("change:a");
    end();
    await settled();
    model.say("change:a");
    await settled();
    expect(redraw).toHaveBeenCalledTimes(1);
  });
});

describe("a kernel that goes", () => {
  it("is told of once, where JupyterLab marks the widget", async () => {
    const [listeners, then] = [{}, vi.fn()];
    const model = { on: (name, f) => (listeners[name] = f), off: (name) => delete listeners[name] };
    const root = aiki.el("section");
    const view = aiki.el("div", {}, root);
    const end = aiki.parted(model, root, then);
    listeners.comm_live_update(); // it has come back
    await settled();
    expect(root.textContent).toBe("");
    view.className = "jupyter-widgets-disconnected";
    listeners.comm_live_update();
    listeners.comm_live_update();
    await settled();
    expect(root.textContent).toBe(aiki.PARTED);
    expect(then).toHaveBeenCalledTimes(1);
    end();
    expect(listeners).toEqual({});
  });

  it("is found out by sending, where nobody tells of it", () => {
    const model = { on: () => {}, off: () => {}, send: () => { throw new Error("disposed"); } };
    const [root, then] = [aiki.el("section"), vi.fn()];
    const end = aiki.parted(model, root, then);
    end.ask({ type: "here" });
    end.ask({ type: "here" });
    expect(root.querySelectorAll(".aiki-parted")).toHaveLength(1);
    expect(then).toHaveBeenCalledTimes(1);
  });

  it("answers nothing more", async () => {
    const model = { on: () => {}, off: () => {}, send: vi.fn() };
    const ask = aiki.asking(model);
    ask.parted = true;
    expect(await ask("page")).toEqual({ error: aiki.PARTED });
    expect(model.send).not.toHaveBeenCalled();
  });
});

describe("the keyboard", () => {
  it("takes its keys and no others", () => {
    const [node, enter] = [aiki.el("div"), vi.fn()];
    const outer = vi.fn();
    document.body.append(aiki.el("div", { onkeydown: outer }, node));
    aiki.keys(node, { Enter: enter, x: () => false });
    expect(press(node, "Enter").defaultPrevented).toBe(true);
    expect(enter).toHaveBeenCalledOnce();
    expect(outer).not.toHaveBeenCalled();
    for (const more of [{ ctrlKey: true }, { metaKey: true }, { altKey: true }]) {
      expect(press(node, "Enter", more).defaultPrevented).toBe(false);
    }
    expect(press(node, "x").defaultPrevented).toBe(false);
    expect(press(node, "y").defaultPrevented).toBe(false);
    expect(outer).toHaveBeenCalledTimes(5);
    expect(enter).toHaveBeenCalledOnce();
  });

  it("goes among many items with one stop for Tab", () => {
    const items = ["a", "b", "c"].map((key) => aiki.el("button", { data: { key } }, key));
    const root = aiki.el("div", {}, items);
    document.body.append(root);
    const renew = aiki.roving(root, "button");
    const stops = () => items.map((item) => item.tabIndex);
    expect(stops()).toEqual([0, -1, -1]);
    items[0].focus();
    press(items[0], "ArrowDown");
    expect(document.activeElement).toBe(items[1]);
    expect(stops()).toEqual([-1, 0, -1]);
    press(items[1], "End");
    press(items[2], "ArrowRight");
    expect(document.activeElement).toBe(items[2]);
    press(items[2], "Home");
    expect(document.activeElement).toBe(items[0]);
    items[0].remove();
    renew();
    expect(items[1].tabIndex).toBe(0);
  });

  it("keeps the reader's place over a redraw", () => {
    const root = aiki.el("div");
    document.body.append(root);
    const draw = (keys) => () =>
      root.replaceChildren(...keys.map((key) => aiki.el("input", { data: { key }, value: "garden" })));
    draw(["a", "b"])();
    root.lastChild.focus();
    root.lastChild.setSelectionRange(2, 4);
    aiki.keepFocus(root, draw(["b", "c"]));
    expect(document.activeElement).toBe(root.firstChild);
    expect([root.firstChild.selectionStart, root.firstChild.selectionEnd]).toEqual([2, 4]);
    aiki.keepFocus(root, draw(["c", "d"]));
    expect(document.activeElement).toBe(root.firstChild);
  });

  it("does not take the focus from elsewhere", () => {
    const [root, other] = [aiki.el("div"), aiki.el("button")];
    document.body.append(root, other);
    other.focus();
    aiki.keepFocus(root, () => root.append(aiki.el("button", { data: { key: "a" } })));
    expect(document.activeElement).toBe(other);
  });
});

describe("figures in words", () => {
  it.each([
    [0.0002, "<1 ms"],
    [0.4805, "481 ms"],
    [0.9995, "1.0 s"],
    [2.25, "2.3 s"],
    [59.95, "1 min 0 s"],
    [75.5, "1 min 16 s"],
  ])("duration(%s) is %s", (s, said) => expect(aiki.duration(s)).toBe(said));

  it.each([
    [0.2134, "0.21 ms"],
    [3.44, "3.4 ms"],
    [120.4, "120 ms"],
  ])("milliseconds(%s) is %s", (ms, said) => expect(aiki.milliseconds(ms)).toBe(said));

  it.each([
    [0, "$0"],
    [3e-7, "<$0.000001"],
    [0.00031, "$0.00031"],
    [0.125, "$0.13"],
    [12.5, "$12.50"],
  ])("dollars(%s) is %s", (usd, said) => expect(aiki.dollars(usd)).toBe(said));

  it("marks an estimate", () => expect(aiki.dollars(0.02, "~")).toBe("~$0.020"));

  it.each([
    [{}, ""],
    [{ input_tokens: 1412, output_tokens: 38 }, "1,412 → 38 tokens"],
    [{ output_tokens: 3 }, "3 tokens"],
    [{ input_tokens: 9, output_tokens: 0, cached_tokens: 8 }, "9 → 0 tokens (8 cached)"],
    [{ input_tokens: 5, output_tokens: 6, estimated: true }, "~5 → ~6 tokens"],
  ])("tokens(%j) is %s", (usage, said) => expect(aiki.tokens(usage)).toBe(said));

  it.each([
    [20.9, "21 tok/s"],
    [3.25, "3.3 tok/s"],
    [0, ""],
    [null, ""],
  ])("speed(%s) is %s", (rate, said) => expect(aiki.speed(rate)).toBe(said));

  it.each([
    [1, "now"],
    [40, "40 s ago"],
    [200, "3 min ago"],
    [7300, "2 h ago"],
  ])("age(%s) is %s", (seconds, said) => expect(aiki.age(seconds)).toBe(said));

  it.each([
    ["2026-11-21T11:59:30+00:00", "just now"],
    ["2026-11-21T11:15:00.123456+00:00", "44 minutes ago"],
    ["2026-11-20T10:00:00+00:00", "yesterday"],
    ["2026-11-16T10:00:00+00:00", "5 days ago"],
    ["2024-06-01T05:00:00-07:00", "2 years ago"],
    ["no date at all", "no date at all"],
  ])("ago(%s) is %s", (iso, said) =>
    expect(aiki.ago(iso, Date.parse("2026-11-21T12:00:00Z"))).toBe(said));

  it("tells a moment in the reader's own zone", () => {
    expect(aiki.moment(new Date(2026, 0, 2, 9, 5).toISOString())).toBe("2026-01-02 09:05");
    expect(aiki.moment("no date at all")).toBe("no date at all");
  });

  it("shows commands as code, and the rest as text", () => {
    const made = aiki.el("p", {}, aiki.coded("<b>: run `aiki health`, or `x`"));
    expect(made.textContent).toBe("<b>: run aiki health, or x");
    expect([...made.children].map((node) => node.tagName)).toEqual(["BDI", "CODE", "BDI", "CODE"]);
    expect(aiki.coded("")).toEqual([]);
  });

  it("tells the time of the reader's day", () => {
    expect(aiki.clock(new Date(2026, 10, 21, 9, 5).getTime() / 1000)).toBe("09:05");
  });
});

describe("a small line", () => {
  it.each([
    [[], ""],
    [[1], ""],
    [[null, null], ""],
    [[1, 3], "M0.0 17.0L96.0 1.0"],
    [[2, 2], "M0.0 9.0L96.0 9.0"],
    [[0, null, 1], "M0.0 17.0M96.0 1.0"],
  ])("path(%j) is %s", (line, drawn) => expect(aiki.path(line, 96, 18)).toBe(drawn));

  it("has a name, and without values is hidden from ears", () => {
    expect(aiki.spark([1, 2], "the last hour").getAttribute("aria-label")).toBe("the last hour");
    expect(aiki.spark([], "the last hour").getAttribute("aria-hidden")).toBe("true");
  });
});
