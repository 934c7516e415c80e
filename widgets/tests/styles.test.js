// Many widgets stand in one notebook, and each brings its style sheet: none may reach another's.
import { readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { expect, it } from "vitest";

const folder = path.resolve(import.meta.dirname, "..");
const read = (name) => readFileSync(path.join(folder, name), "utf-8");
const sheets = readdirSync(folder).filter((name) => name.endsWith(".css") && name !== "aiki.css");
const own = (name) => read(name.replace(".css", ".js")).match(/= frame\(host, "(\w+)"/)[1];
const roots = sheets.map((name) => `aiki-${own(name)}`);

it("knows every widget", () => expect(new Set(roots).size).toBe(7));

it.each(sheets)("%s styles its own widget only", (name) => {
  const text = read(name).replace(/\/\*[^]*?\*\//g, "").replace(/@keyframes[^{]*\{[^{}]*\{[^{}]*\}\s*\}/g, "");
  const selectors = [...text.matchAll(/([^{}]+)\{/g)].map((found) => found[1].trim());
  const rules = selectors.filter((one) => !one.startsWith("@")).flatMap((one) => one.split(/,\s*(?![^(]*\))/));
  const root = `.aiki-${own(name)}`;
  expect(rules.filter((one) => !one.trim().match(new RegExp(`(^|\\s)\\${root}(?![\\w-])`)))).toEqual([]);
});

it.each(sheets)("%s takes no other widget's name for a part", (name) => {
  const script = read(name.replace(".css", ".js"));
  expect(roots.filter((root) => new RegExp(`[" ]${root}[" ]`).test(script))).toEqual([]);
});
