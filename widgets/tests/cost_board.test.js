import { afterEach, beforeEach, expect, it, vi } from "vitest";
import * as costs from "../cost_board.js";
import { mount } from "./model.js";

const EVIL = "<img src=x onerror=hurt()>";
const board = (more = {}) => ({
  span: "7",
  said: "$0.50 in 7 days",
  counted: "3 calls, 10 → 20 tokens",
  bars: [{ name: "1 March", short: "1", usd: 0.5, said: "$0.50, 2 calls", unknown: false }, { name: "2 March", short: "2", usd: 0, said: "1 of unknown price", unknown: true }],
  groups: { model: [[EVIL, "3", "10 → 20", "$0.50"]], session: [["this session", "3", "10 → 20", "$0.50"]], persona: [] },
  caps: [{ said: "Budget today: $1 left of $2", share: 0.5 }],
  lines: ["Unknown price: x."],
  at: "12:00",
  ...more,
});
const last = (model) => model.send.mock.calls.at(-1)[0];
const tick = (ms = 0) => vi.advanceTimersByTimeAsync(ms);

beforeEach(() => vi.useFakeTimers());
afterEach(() => {
  vi.useRealTimers();
  document.body.replaceChildren();
});

it.each([[0, 5, 0], [5, 5, 100], [0.001, 5, 4], [1, 0, 0]])("height(%s, %s) is %s", (usd, most, high) => expect(costs.height(usd, most)).toBe(high));

it("shows the sum, the days, the caps and what it went to", () => {
  const { all, one, end, model } = mount(costs, { board: board(), every: 15 });
  expect(one(".aiki-sum").textContent).toBe("$0.50 in 7 days");
  expect(all(".aiki-barbutton").map((node) => node.getAttribute("aria-label"))).toEqual(["1 March: $0.50, 2 calls", "2 March: 1 of unknown price"]);
  expect(one(".aiki-scale").textContent).toBe("The most: $0.50 on 1 March with calls of unknown price");
  expect(one(".aiki-bar > i").style.width).toBe("50.0%");
  expect(one("td").textContent).toBe(EVIL);
  expect(one("img")).toBeNull();
  one("[data-key=session]").click();
  expect(one("td").textContent).toBe("this session");
  end();
  expect(model.listeners()).toBe(0);
});

it("asks anew while it is open, and not after", async () => {
  const { end, model } = mount(costs, { board: board(), every: 15 });
  model.hear({ type: "answer", id: last(model).id, board: board() });
  await tick(15_000);
  expect(model.send.mock.calls.filter(([one]) => one.what === "look")).toHaveLength(2);
  end();
  const count = model.send.mock.calls.length;
  await tick(60_000);
  expect(model.send.mock.calls.length).toBe(count);
});

it("shows other days, and keeps what it had when that fails", async () => {
  const { one, end, model } = mount(costs, { board: board(), every: 15 });
  one("[data-key='30']").click();
  expect(last(model)).toMatchObject({ what: "look", span: "30" });
  model.hear({ type: "answer", id: last(model).id, error: "The ledger is away." });
  await tick();
  expect(one("[role=alert]").textContent).toBe("The ledger is away. Last seen 12:00.");
  expect(one(".aiki-sum").textContent).toBe("$0.50 in 7 days");
  end();
});

it("copies, or shows what to copy where the page may not", async () => {
  const { all, one, end, model } = mount(costs, { board: board(), every: 15 });
  all("button").find((node) => node.textContent === "Copy CSV").click();
  expect(last(model)).toMatchObject({ what: "copy", as: "csv", by: "model", span: "7" });
  vi.stubGlobal("navigator", { clipboard: { writeText: () => Promise.reject(new Error("no")) } });
  model.hear({ type: "answer", id: last(model).id, text: "a,b" });
  await tick();
  expect(one("textarea").value).toBe("a,b");
  expect(one("textarea").hidden).toBe(false);
  vi.unstubAllGlobals();
  end();
});
