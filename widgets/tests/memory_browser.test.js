import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import * as browser from "../memory_browser.js";
import { mount, press } from "./model.js";

const EVIL = "<img src=x onerror=hurt()>";
const row = (id, more = {}) => ({
  id,
  text: `text of ${id}`,
  when: "2026-03-01 12:00",
  who: "you",
  kind: "fact",
  trust: "",
  tags: ["cabin"],
  marks: [],
  held: false,
  where: "",
  ...more,
});
const page = (more = {}) => ({ rows: [row("a"), row("b", { text: EVIL })], next: "x|1", total: 12, said: "1–2 of 12 memories, newest first", note: "", ...more });
const whole = (id, more = {}) => ({ ...row(id), whole: `whole ${id}`, editable: true, facts: [["kind", "fact"]], related: [], history: [], note: "", ...more });
const tick = (ms = 0) => vi.advanceTimersByTimeAsync(ms);
const asked = (model, what) => model.send.mock.calls.map(([one]) => one).filter((one) => one.what === what);

// Answer the last question of a kind.
async function answer(model, what, told) {
  model.hear({ type: "answer", id: asked(model, what).at(-1).id, ...told });
  await tick();
}

function show(more = {}) {
  const shown = mount(browser, { page: page(more), wanted: {} });
  const key = (name) => shown.host.querySelector(`[data-key="${name}"]`);
  return { ...shown, key };
}

async function opened() {
  const shown = show();
  shown.key("open a").click();
  await tick();
  await answer(shown.model, "open", { memory: whole("a") });
  return shown;
}

beforeEach(() => vi.useFakeTimers());
afterEach(() => {
  vi.useRealTimers();
  document.body.replaceChildren();
});

describe("a page", () => {
  it("is there before anything is asked, and no text is markup", () => {
    const { all, one, end, model } = show();
    expect(all(".aiki-open")).toHaveLength(2);
    expect(all(".aiki-text")[1].textContent).toBe(EVIL);
    expect(one("img")).toBeNull();
    expect(one("[role=status]").textContent).toBe("1–2 of 12 memories, newest first");
    end();
    expect(model.listeners()).toBe(0);
  });

  it("says who, what and whence", () => {
    expect(browser.about(row("a", { trust: "imported", marks: ["quarantined"] }))).toBe("you · fact · imported · #cabin · quarantined");
    expect(browser.left({ gone: { when: "now", by: "", why: "forgotten" } })).toBe("now: forgotten");
    expect(browser.quoted("x".repeat(90))).toHaveLength(50);
  });

  it("turns, and turns back", async () => {
    const { model, key, end } = show();
    key("older").click();
    expect(asked(model, "page").at(-1)).toMatchObject({ after: "x|1", first: 2 });
    await answer(model, "page", { page: page({ next: "" }) });
    expect(key("older").disabled).toBe(true);
    key("newer").click();
    expect(asked(model, "page").at(-1)).toMatchObject({ after: "", first: 0 });
    end();
  });

  it("is asked once for many letters, and an older answer changes nothing", async () => {
    const { model, one, all, end } = show();
    const before = asked(model, "page").length;
    const search = one("input[type=search]");
    for (const text of ["b", "bu", "budget"]) {
      search.value = text;
      search.dispatchEvent(new Event("input"));
      await tick(50);
    }
    await tick(200);
    const questions = asked(model, "page").slice(before);
    expect(questions.map((q) => q.wanted.query)).toEqual(["budget"]);
    model.hear({ type: "answer", id: asked(model, "page")[0].id, page: page({ rows: [] }) });
    await tick();
    expect(all(".aiki-open")).toHaveLength(2);
    end();
  });

  it("says in one line what went wrong, and tries again", async () => {
    const { model, one, end } = show();
    await answer(model, "page", { error: `${EVIL} is away.` });
    expect(one("[role=alert]").textContent).toContain(`${EVIL} is away.`);
    const before = asked(model, "page").length;
    one("[role=alert] button").click();
    expect(asked(model, "page")).toHaveLength(before + 1);
    expect(one("[role=alert]").hidden).toBe(true);
    await tick(31_000);
    expect(one("[role=alert]").textContent).toContain("The kernel does not answer");
    end();
  });
});

describe("filters", () => {
  it("offer what there is, with counts", async () => {
    const { model, key, end } = show();
    await answer(model, "labels", { labels: { kind: [["fact", "fact", 1204]], who: [["role:user", "you", 3]], held: 2 } });
    expect(key("kind").textContent).toContain("fact (1,204)");
    expect(key("state").textContent).toContain("In quarantine (2)");
    key("who").value = "role:user";
    key("who").dispatchEvent(new Event("change"));
    expect(asked(model, "page").at(-1).wanted.who).toBe("role:user");
    key("clear").click();
    expect(asked(model, "page").at(-1).wanted.who).toBe("");
    end();
  });

  it("a month of the timeline opens its days, a day is one filter more", async () => {
    const { model, all, one, key, end } = show();
    const bar = (since, name) => ({ since, until: `${since}~`, name, count: 3 });
    await answer(model, "timeline", { timeline: { unit: "month", bars: [bar("2026-02", "February 2026"), bar("2026-03", "March 2026")] } });
    const bars = all(".aiki-barbutton");
    bars[0].focus();
    press(bars[0], "ArrowRight");
    expect(document.activeElement).toBe(bars[1]);
    bars[1].click();
    expect(asked(model, "timeline").at(-1).wanted.since).toBe("2026-03");
    await answer(model, "timeline", { timeline: { unit: "day", bars: [bar("2026-03-04", "4 March 2026")] } });
    one(".aiki-barbutton").click();
    expect(asked(model, "page").at(-1).wanted).toMatchObject({ since: "2026-03-04", until: "2026-03-04~" });
    expect(one(".aiki-barbutton").getAttribute("aria-pressed")).toBe("true");
    key("back").click();
    expect(asked(model, "page").at(-1).wanted).toMatchObject({ since: "", until: "" });
    end();
  });
});

describe("a memory", () => {
  it("opens whole and closes", async () => {
    const { one, key, end } = await opened();
    expect(one(".aiki-whole").textContent).toBe("whole a");
    expect(key("open a").getAttribute("aria-expanded")).toBe("true");
    key("open a").click();
    await tick();
    expect(one(".aiki-whole")).toBeNull();
    end();
  });

  it("is asked about before it is forgotten, and can be brought back until that is closed", async () => {
    const { model, one, key, all, end } = await opened();
    key("forget").click();
    await tick();
    expect(asked(model, "forget")).toHaveLength(0);
    key("why").value = "sold it";
    press(key("why"), "Enter");
    expect(asked(model, "forget").at(-1)).toMatchObject({ memory: "a", reason: "sold it" });
    await answer(model, "forget", {});
    await answer(model, "page", { page: page({ rows: [row("b")] }) });
    expect(one(".aiki-undo").textContent).toContain("Forgot “text of a”.");
    one(".aiki-undo button").click();
    expect(asked(model, "undo").at(-1).memory).toBe("a");
    await answer(model, "undo", { memory: whole("a") });
    await answer(model, "page", { page: page() });
    expect(all(".aiki-undo")).toHaveLength(0);
    end();
  });

  it("keeps what was written when saving fails", async () => {
    const { model, key, end } = await opened();
    key("edit-button").click();
    await tick();
    key("edit").value = "a new text";
    key("edit").dispatchEvent(new Event("input"));
    key("save").click();
    expect(asked(model, "rewrite").at(-1).text).toBe("a new text");
    await answer(model, "rewrite", { error: "The memory is read-only." });
    expect(key("edit").value).toBe("a new text");
    end();
  });

  it("gets and loses tags", async () => {
    const { model, key, end } = await opened();
    key("newtag").value = "hytte";
    press(key("newtag"), "Enter");
    expect(asked(model, "tag").at(-1).tags).toEqual(["cabin", "hytte"]);
    await answer(model, "tag", { memory: whole("a", { tags: ["cabin", "hytte"] }) });
    await answer(model, "page", { page: page() });
    key("untag cabin").click();
    expect(asked(model, "tag").at(-1).tags).toEqual(["hytte"]);
    end();
  });
});
