import { afterEach, expect, it, vi } from "vitest";
import * as picker from "../persona_picker.js";
import { mount, press } from "./model.js";

const EVIL = "<img src=x onerror=hurt()>";
const card = (name, more = {}) => ({ name, title: `Title of ${name}`, about: EVIL, current: false, problem: "", facts: [["reads", "own"]], ...more });
const page = (current = "a") => ({ rows: [card("a"), card("b"), card("c", { problem: "It is broken." })].map((one) => ({ ...one, current: one.name === current })), said: "Title of a (@a) answers.", more: "" });
const settled = () => new Promise((done) => setTimeout(done));
const last = (model) => model.send.mock.calls.at(-1)[0];

afterEach(() => document.body.replaceChildren());

it("is a group of radio buttons, and no text is markup", () => {
  const { all, one, end, model } = mount(picker, { page: page() });
  expect(all("[role=radio]").map((node) => node.getAttribute("aria-checked"))).toEqual(["true", "false", "false"]);
  expect(one("img")).toBeNull();
  expect(one("[role=radiogroup]").textContent).toContain(EVIL);
  end();
  expect(model.listeners()).toBe(0);
});

it("arrows go among the cards, a click chooses", async () => {
  const { all, one, end, model } = mount(picker, { page: page() });
  all("[role=radio]")[0].focus();
  press(document.activeElement, "ArrowRight");
  expect(document.activeElement).toBe(all("[role=radio]")[1]);
  document.activeElement.click();
  expect(last(model)).toMatchObject({ what: "choose", name: "b" });
  model.hear({ type: "answer", id: last(model).id, page: page("b"), said: "Title of b answers from now on." });
  await settled();
  expect(all("[aria-checked=true]")).toHaveLength(1);
  expect(document.activeElement.dataset.key).toBe("persona b");
  expect(one("[role=status]").textContent).toBe("Title of b answers from now on.");
  end();
});

it("does not choose what is broken, and says what went wrong", async () => {
  const { all, one, end, model } = mount(picker, { page: page() });
  all("[role=radio]")[2].click();
  expect(last(model).what).toBe("find");
  all("[role=radio]")[1].click();
  model.hear({ type: "answer", id: last(model).id, error: "No such persona." });
  await settled();
  expect(one("[role=alert]").textContent).toBe("No such persona.");
  expect(all("[role=radio]")[0].getAttribute("aria-checked")).toBe("true");
  end();
});
