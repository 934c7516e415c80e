import { afterEach, beforeEach, expect, it, vi } from "vitest";
import * as picker from "../model_picker.js";
import { mount } from "./model.js";

const EVIL = "<img src=x onerror=hurt()>";
const row = (name, more = {}) => ({ name, tier: "cheap", given: "$0.10", made: "unknown", window: "128k", size: "", state: "key set", usable: true, local: false, current: false, ...more });
const page = (more = {}) => ({ rows: [row("x/one", { current: true }), row(EVIL, { local: true, given: "free", made: "free", size: "88 MB", state: "here" })], current: "x/one", said: "x/one answers (from the settings).", note: "39 more: type a part of the name.", todo: "", ...more });
const last = (model) => model.send.mock.calls.at(-1)[0];
const tick = (ms = 0) => vi.advanceTimersByTimeAsync(ms);

beforeEach(() => vi.useFakeTimers());
afterEach(() => {
  vi.useRealTimers();
  document.body.replaceChildren();
});

it("shows each model with its price, what fits and its state; the router is first", () => {
  const { all, one, end, model } = mount(picker, { page: page() });
  const rows = all("[role=radio]");
  expect(rows).toHaveLength(3);
  expect(rows[0].getAttribute("aria-label")).toBe("auto: the router chooses");
  expect(rows[1].getAttribute("aria-label")).toBe("x/one: cheap, $0.10 in, unknown out per million tokens, window 128k, key set");
  expect(rows.map((node) => node.getAttribute("aria-checked"))).toEqual(["false", "true", "false"]);
  expect(picker.state({ size: "88 MB", state: "here" })).toBe("88 MB, here");
  expect(one("img")).toBeNull();
  end();
  expect(model.listeners()).toBe(0);
});

it("searches once for many letters, and by tier", async () => {
  const { one, all, end, model } = mount(picker, { page: page() });
  const before = model.send.mock.calls.length;
  for (const text of ["g", "gp", "gpt"]) {
    one("input").value = text;
    one("input").dispatchEvent(new Event("input"));
    await tick(50);
  }
  await tick(200);
  expect(model.send.mock.calls.length).toBe(before + 1);
  expect(last(model)).toMatchObject({ what: "find", wanted: { query: "gpt", tier: "" } });
  all("[aria-pressed]")[1].click();
  expect(last(model).wanted).toEqual({ query: "gpt", tier: "smart" });
  model.hear({ type: "answer", id: last(model).id, page: page({ rows: [], note: "No model has 'gpt' in its name." }) });
  await tick();
  expect(all("[role=radio]")).toHaveLength(0);
  expect(one(".aiki-after").textContent).toBe("No model has 'gpt' in its name.");
  end();
});

it("chooses, and says in one line why not", async () => {
  const { one, all, end, model } = mount(picker, { page: page() });
  all("[role=radio]")[2].click();
  expect(last(model)).toMatchObject({ what: "choose", name: EVIL });
  model.hear({ type: "answer", id: last(model).id, error: "It is not here: `aiki model pull`." });
  await tick();
  expect(one("[role=alert]").textContent).toBe("It is not here: `aiki model pull`.");
  end();
});
