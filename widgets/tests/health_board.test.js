import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import * as board from "../health_board.js";
import { mount, settled } from "./model.js";

const NOW = new Date("2026-11-21T12:00:00Z");
const shown = (more = {}) => ({
  status: "degraded",
  headline: "Cost today degraded",
  wall_s: NOW / 1000 - 3,
  watched: true,
  money: { usd: 1.9, day_usd: 2 },
  services: [
    { title: "Cost today", state: "degraded", reason: "Nearly spent.", figure: "1.9 USD", line: [] },
    { title: "Disk", state: "ok", reason: "120 GB free.", figure: "120 GB", line: [1, 2] },
  ],
  changes: [{ at: NOW / 1000, title: "Disk", from: "degraded", to: "ok" }],
  ...more,
});

beforeEach(() => vi.useFakeTimers({ now: NOW, toFake: ["Date", "setTimeout", "setInterval"] }));
afterEach(() => {
  vi.useRealTimers();
  document.body.replaceChildren();
});

describe("the board", () => {
  it.each([
    [{ usd: 0, day_usd: null }, "$0 today, no budget"],
    [{ usd: 0.1234, day_usd: 2 }, "$0.1234 of today's $2"],
    [{ usd: 1.9, day_usd: 2.5 }, "$1.90 of today's $2.5"],
  ])("spent(%j) is %s", (money, said) => expect(board.spent(money)).toBe(said));

  it("shows each service with its state in words", () => {
    const { one, all, end } = mount(board, { board: shown(), every: 10 });
    expect(one("strong").textContent).toBe("Cost today degraded");
    expect(all(".aiki-state").map((node) => node.textContent)).toEqual(["degraded", "ok"]);
    expect(all(".aiki-reason")[1].textContent).toBe("120 GB free.");
    expect(one(".aiki-bar > i").style.width).toBe("95.0%");
    expect(one(".aiki-changes").textContent).toContain("Disk: degraded → ok");
    end();
  });

  it("takes a state it does not know for unknown", () => {
    const services = [{ title: "X", state: "<b>", reason: "", figure: "", line: null }];
    const { one, end } = mount(board, { board: shown({ services, status: 7 }), every: 10 });
    expect(one(".aiki-state").textContent).toBe("unknown");
    end();
  });

  it("survives a board with nothing in it", () => {
    const { one, model, end } = mount(board, { board: {}, every: 10 });
    expect(one(".aiki-money").hidden).toBe(true);
    end();
    expect(model.listeners()).toBe(0);
  });

  it("says when it was seen, looks when asked, and says when it is not seen", async () => {
    const { model, one, end } = mount(board, { board: shown(), every: 10 });
    expect(one(".aiki-when").textContent).toBe("looked 3 s ago");
    vi.advanceTimersByTime(60_000);
    expect(one(".aiki-when").textContent).toBe("last looked 63 s ago");
    one(".aiki-again").click();
    expect(one(".aiki-again").disabled).toBe(true);
    model.set({ board: shown({ headline: "All 2 are well" }) });
    await settled();
    expect(one("strong").textContent).toBe("All 2 are well");
    expect(one(".aiki-again").disabled).toBe(false);
    end();
    const told = model.send.mock.calls.map(([content]) => content.type);
    expect(told).toEqual(["opened", "look", "look", "closed"]); // once for itself, being stale
  });
});
