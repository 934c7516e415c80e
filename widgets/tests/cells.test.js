import { parser } from "@lezer/python";
import { describe, expect, it } from "vitest";
import { hasProse, regions } from "../labextension/static/cells.js";
import { commandTokens, judgeOf } from "../labextension/static/language.js";
import table from "./cells.json";

const isPython = judgeOf(parser);

describe("what a cell is", () => {
  // tests/kernel/test_cell_regions.py holds the kernel to the same table.
  it.each(table)("%j", (text, wanted) => {
    const found = regions(text, isPython);
    expect(found.map(({ kind, from, to }) => [kind, text.slice(from, to)])).toEqual(wanted);
    expect(hasProse(found)).toBe(!wanted.length || wanted.some(([kind]) => kind === "prose"));
  });

  it("knows the languages of other magics", () => {
    const language = (text) => regions(text, isPython)[1].language;
    expect(["%%bash\nls", "%%HTML\n<b>", "%%js\nx", "%%latex\nx", "%%unheard\nx"].map(language)).toEqual([
      "shell", "html", "javascript", "stex", "none",
    ]);
  });

  it("has neither gaps nor overlaps after the first word", () => {
    for (const [text] of table) {
      const found = regions(text, isPython);
      let at = found[0]?.from ?? 0;
      for (const { from, to } of found) {
        expect(text.slice(at, from).trim()).toBe("");
        expect(to).toBeGreaterThan(from);
        at = to;
      }
      expect(at).toBe(text.length);
    }
  });
});

describe("Python while it is typed", () => {
  it.each([
    "import math", "import ", "x = ", "x = foo(", "for month in ", "def f(x)", "def f(x):\n    return x +",
    'print("hello', "x = [1,\n     2,", "a = 1\nb = foo(\nc = 3\nd = 4\ne = 5", "",
  ])("%j may become code", (text) => expect(isPython(text)).toBe(true));

  it.each([
    "What is pi?", "Write me a poem", "Tell me about *bees* now.", "Hei, hva heter du?",
    "for all the bees in the world, say a word", "Hi,\nplease count my jars",
  ])("%j is a message", (text) => expect(isPython(text)).toBe(false));

  it("does not parse a book", () => expect(isPython("so it is ".repeat(3000))).toBe(true));
});

describe("command lines", () => {
  const names = (text) => commandTokens(text).map(({ name, from, to }) => [name, text.slice(from, to)]);

  it("have a name, options, texts and numbers", () => {
    expect(names('%aiki_memory add "my 2 jars" --limit 5 -q\n')).toEqual([
      ["CommandName", "%aiki_memory"], ["Text", '"my 2 jars"'], ["Option", "--limit"], ["Number", "5"],
      ["Option", "-q"],
    ]);
  });

  it("may be two, and only the first word is the name", () => {
    expect(names("%%time\n%%python\n").map(([, text]) => text)).toEqual(["%%time", "%%python"]);
    expect(names("%time f(a %b)")).toEqual([["CommandName", "%time"]]);
    expect(names("!ls -l")).toEqual([["CommandName", "!"], ["Option", "-l"]]);
  });
});
