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

describe("the card", () => {
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
