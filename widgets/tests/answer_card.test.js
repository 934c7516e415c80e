import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import * as card from "../answer_card.js";
import { mount, settled } from "./model.js";

const answer = (more = {}) => ({
  model: "local/smollm2",
  provider: "local",
  finish_reason: "stop",
  usage: { input_tokens: 1412, output_tokens: 38 },
  cost: { usd: 0, estimated: false },
  latency_s: { recall: 0.0124, route: 0.0002, first_token: 0.481, generate: 2.3, remember: 0.018 },
  tokens_per_second: 20.9,
  hits: [{ id: "a", text: "Åse keeps bees.", score: 2.41, role: "user", provenance: { notebook: "a/b.ipynb" } }],
  notes: [],
  ...more,
});

beforeEach(() => vi.useFakeTimers({ toFake: ["setTimeout", "setInterval", "performance"] }));
afterEach(() => {
  vi.useRealTimers();
  document.body.replaceChildren();
});

it("stops waiting when the kernel goes in the middle of an answer", async () => {
  const { host, model, one, end } = mount(card, { summary: answer({ finish_reason: "" }), state: "streaming" });
  expect(one(".aiki-stop").hidden).toBe(false);
  host.className = "jupyter-widgets-disconnected";
  model.hearing("comm_live_update");
  await settled();
  expect(one(".aiki-stop").hidden).toBe(true);
  expect(one(".aiki-parted").textContent).toContain("run the cell again");
  end();
  expect(model.listeners()).toBe(0);
});

describe("facts in words", () => {
  it.each([
    [{ usd: null }, "price unknown"],
    [{ usd: 0 }, "free"],
    [{ usd: 0.02, estimated: true }, "~$0.020"],
    [null, ""],
  ])("price(%j) is %s", (cost, said) => expect(card.price(cost)).toBe(said));

  it.each([
    [[], ""],
    [[{}], "1 hop"],
    [2, "2 hops"],
    ["x", ""],
  ])("hops(%j) is %s", (found, said) => expect(card.hops(found)).toBe(said));

  it.each([
    [{ smart_only_usd: 0.0123 }, { usd: 0 }, "~$0.012 saved"],
    [{ smart_only_usd: 0.01 }, { usd: 0.02 }, "~$0.010 over smart-only"],
    [{ smart_only_usd: 0.02 }, { usd: 0.02 }, ""],
    [{}, { usd: 1 }, ""],
  ])("saved(%j, %j) is %s", (could, cost, said) => expect(card.saved(could, cost)).toBe(said));

  it("tells the wait for the first token and the writing apart", () => {
    const found = card.segments({ first_token: 0.5, generate: 2 });
    expect(found.map((part) => [part.stage, part.seconds])).toEqual([
      ["first_token", 0.5],
      ["generate", 1.5],
    ]);
  });

  it.each([
    [{ notebook: "work/garden.ipynb" }, "garden.ipynb"],
    [{ source: "C:\\notes\\a.md" }, "a.md"],
    [{ session_id: "0f2d7c11aa" }, "session 0f2d7c11"],
    [{}, ""],
  ])("origin(%j) is %s", (provenance, said) => expect(card.origin(provenance)).toBe(said));

  it.each([
    [{ model: "gpt-5-mini", provider: "openai" }, "openai/gpt-5-mini"],
    [{ model: "local/x", provider: "local" }, "local/x"],
    [{ model: "local", provider: "local" }, "local"],
  ])("named(%j) is %s", (summary, said) => expect(card.named(summary)).toBe(said));
});

describe("why this model, and what was paid for", () => {
  it.each([
    [{}, ""],
    [{ route: { router: "learned", reason: "cheap, complexity 0.21" } }, "learned: cheap, complexity 0.21"],
    [{ route: { router: "rules", reason: "rules: smart" } }, "rules: smart"],
    [{ route: { router: "fixed", reason: "the default of your settings" } }, "the default of your settings"],
    [{ route: { router: "learned" } }, ""],
  ])("route(%j) is %s", (summary, said) => expect(card.route(summary)).toBe(said));

  it("takes the first note of a consultation for the insight", () => {
    const notes = ["Consulted x: count.", "insight $0.01", null, " "];
    expect(card.noted({ notes })).toEqual({ insight: undefined, notes: notes.slice(0, 2) });
    expect(card.noted({ notes, consult: { insight: true } })).toEqual({
      insight: notes[0],
      notes: [notes[1]],
    });
    expect(card.noted({ notes: [], consult: { insight: true } }).notes).toEqual([]);
  });
});

describe("the card", () => {
  it("marks what is out of date and what is kept, with a sentence for each", () => {
    const summary = answer({ stale: true, kept: true, finish_reason: "length" });
    const { all, end } = mount(card, { summary, state: "done" });
    const marks = all(".aiki-said");
    expect(marks.map((mark) => mark.textContent.trim())).toEqual([
      "cut at the token limit",
      "stale",
      "kept",
    ]);
    expect(marks[1].title).toBe(card.STALE);
    expect(marks[2].title).toBe(card.KEPT);
    end();
  });

  it("holds notes back while it streams, but for the newest in the line", async () => {
    const notes = ["openai/x is failing (503)."];
    const { model, one, end } = mount(card, { summary: { notes }, state: "streaming" });
    expect(one(".aiki-notes").hidden).toBe(true);
    expect(one(".aiki-latest").textContent).toBe(" · openai/x is failing (503).");
    model.set({ summary: answer({ notes }), state: "done" });
    await settled();
    expect(one(".aiki-notes").hidden).toBe(false);
    expect(one(".aiki-latest")).toBeNull();
    end();
  });

  it("opens without memories when there is a reason to read", () => {
    const route = { router: "fixed", reason: "the default of your settings" };
    const { one, end } = mount(card, { summary: answer({ hits: [], route }), state: "done" });
    expect(one("details").classList.contains("aiki-none")).toBe(false);
    expect(one(".aiki-why").textContent).toBe("Model: the default of your settings");
    end();
  });

  it("says what is being done, and Stop is there", async () => {
    const { model, one, end } = mount(card, { summary: {}, state: "streaming" });
    expect(one(".aiki-status").textContent).toBe("recalling");
    expect(one(".aiki-stop").hidden).toBe(false);
    model.set({ summary: { latency_s: { recall: 0.1, first_token: 0.5 } } });
    await settled();
    expect(one(".aiki-status").textContent).toBe("writing");
    model.set({ summary: answer(), state: "done" });
    await settled();
    expect(one(".aiki-status").textContent).toBe("");
    expect(one(".aiki-stop").hidden).toBe(true);
    end();
  });

  it("sends one stop, and lets one press again when nothing is heard", () => {
    const { model, one, end } = mount(card, { summary: {}, state: "streaming" });
    one(".aiki-stop").click();
    one(".aiki-stop").click();
    expect(model.send.mock.calls).toEqual([[{ type: "stop" }]]);
    expect(one(".aiki-stop").disabled).toBe(true);
    vi.advanceTimersByTime(3000);
    expect(one(".aiki-stop").disabled).toBe(false);
    end();
  });

  it("gives the focus on when Stop goes", async () => {
    const { model, one, end } = mount(card, { summary: {}, state: "streaming" });
    one(".aiki-stop").focus();
    model.set({ summary: answer(), state: "done" });
    await settled();
    expect(document.activeElement).toBe(one("summary"));
    end();
  });

  it("survives facts of any shape", () => {
    for (const odd of [null, [], "x", { hits: [null, 3, "x"], notes: [null, 5], latency_s: [] }]) {
      const { end, model } = mount(card, { summary: odd, state: "done" });
      end();
      expect(model.listeners()).toBe(0);
    }
  });
});
