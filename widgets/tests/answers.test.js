import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import * as answers from "../labextension/static/answers.js";
import { settled } from "./model.js";

afterEach(() => document.body.replaceChildren());

const rendered = (...blocks) => {
  const node = document.createElement("div");
  for (const [language, text] of blocks) {
    const pre = document.createElement("pre");
    const code = document.createElement("code");
    if (language) code.className = `cm-s-jupyter language-${language}`;
    code.textContent = text;
    pre.append(code);
    node.append(document.createElement("p"), pre);
  }
  document.body.append(node);
  return node;
};

describe("code blocks", () => {
  it("are found with what they are", () => {
    const node = rendered(["python", "x = 1\n"], ["bash", "ls\n"], ["Py3", "y"], ["", "z = 2"], ["", "hm"], ["python", " \n"]);
    const found = answers.codeBlocks(node, (text) => text.includes("="));
    expect(found.map(({ text, python }) => [text, python])).toEqual([
      ["x = 1", true], ["ls", false], ["y", true], ["z = 2", true], ["hm", false],
    ]);
  });

  it("lose the prompts of a session", () => {
    expect(answers.withoutPrompts(">>> for x in y:\n...     f(x)\n...\n1\n>>> x")).toBe("for x in y:\n    f(x)\n\nx");
    expect(answers.withoutPrompts("x >>> y")).toBe("x >>> y");
  });
});

describe("a new cell", () => {
  it.each([
    ["x = 1", true, "%%python\nx = 1"],
    ["%%python\nx = 1", true, "%%python\nx = 1"],
    ["%%time\nx = 1", true, "%%time\nx = 1"],
    ["x = 1", false, "x = 1"],
    ["%%python\nx = 1", false, "x = 1"],
  ])("for %j (AIKI: %s) holds %j", (text, aiki, wanted) => expect(answers.cellSource(text, aiki)).toBe(wanted));

  it.each([
    [{ language_info: { name: "aiki" } }, true],
    [{ language_info: { name: "python" }, kernelspec: { name: "aiki", language: "aiki" } }, false],
    [{ kernelspec: { name: "mine", language: "aiki" } }, true],
    [{ kernelspec: { name: "aiki" } }, true],
    [{ kernelspec: { name: "python3", language: "python" } }, false],
    [{}, false],
    [undefined, false],
  ])("%j speaks AIKI: %s", (metadata, wanted) => expect(answers.isAiki(metadata)).toBe(wanted));

  it("stands below those that came from the same answer before", () => {
    const ids = ["a", "one", "two", "b"];
    expect(answers.placeBelow(ids, 0, new Set())).toBe(1);
    expect(answers.placeBelow(ids, 0, new Set(["one", "two"]))).toBe(3);
    expect(answers.placeBelow(ids, 0, new Set(["two"]))).toBe(1);
    expect(answers.placeBelow(ids, 3, new Set(["a"]))).toBe(4);
  });
});

describe("buttons", () => {
  let actions;
  let node;
  beforeEach(() => {
    actions = { copy: vi.fn(async () => "Copied"), insert: vi.fn(() => "Inserted") };
    node = rendered(["python", "x = '<b>'"], ["bash", "ls"]);
    answers.addButtons(node, { isPython: () => false, actions, icons: {} });
  });
  const names = () => [...node.querySelectorAll("button")].map((button) => button.getAttribute("aria-label"));

  it("are there once, for what a block is", () => {
    answers.addButtons(node, { isPython: () => false, actions, icons: {} });
    expect(names()).toEqual(["Copy code", "Insert as cell", "Copy code"]);
    expect([...node.querySelectorAll("pre")].map((pre) => pre.textContent)).toEqual(["x = '<b>'", "ls"]);
  });

  it("do what they say, and say it", async () => {
    const above = vi.fn();
    node.addEventListener("click", above);
    const [copy, insert] = node.querySelectorAll("button");
    copy.click();
    await settled();
    expect(actions.copy.mock.calls[0][0]).toMatchObject({ text: "x = '<b>'", python: true });
    expect(node.querySelector('[role="status"]').textContent).toBe("Copied");
    insert.click();
    await settled();
    expect(node.querySelector('[role="status"]').textContent).toBe("Inserted");
    expect(above).not.toHaveBeenCalled();
  });

  it("show why they could not", async () => {
    actions.copy.mockRejectedValue(new Error("Not allowed."));
    const [copy] = node.querySelectorAll("button");
    copy.click();
    await settled();
    await settled();
    const said = node.querySelector('[role="status"]');
    expect([said.textContent, said.className]).toEqual(["Not allowed.", "aiki-code-said aiki-refused"]);
    expect(copy.className).toBe("");
  });

  it("keep Enter and Space from the notebook", () => {
    const above = vi.fn();
    node.addEventListener("keydown", (event) => above(event.key));
    for (const key of ["Enter", " ", "Tab"]) {
      node.querySelector("button").dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
    }
    expect(above.mock.calls).toEqual([["Tab"]]);
  });
});
