// AIKI as a language of CodeMirror: prose where a cell is a message, Python where it is code.
//
// One language for every cell, which decides while it parses. Nothing is switched from
// outside, so that the cursor, the undo history and a half-composed character stay what
// they are, and two hundred cells cost no more than two hundred parses of their first lines.
//
// The outer parse cuts a cell into pieces (cells.js); CodeMirror's own mixed parsing mounts
// the application's Markdown and Python parsers over them, with their indentation,
// comments, brackets and completions.

import { hasProse, regions } from "./cells.js";

/** The type of an AIKI cell. */
export const MIME = "text/x-aiki";

const LIKE_CODE =
  /^(?:import \w|from [\w.]+ import|(?:async )?def \w+\(|class \w+[(:]|@\w|[A-Za-z_][\w.]*\s*(?:=[^=]|\(|\[))/;

/** A judge of text that may be unfinished Python: `(text) => boolean`. */
export function judgeOf(parser) {
  return (text) => {
    if (text.length > 20_000) return true; // nobody writes to a model like that after %%time
    const wrong = new Set();
    parser.parse(text).iterate({
      enter(node) {
        if (!node.type.isError) return;
        const end = text.indexOf("\n", node.to);
        const unfinished = node.from === node.to && !text.slice(node.to, end < 0 ? undefined : end).trim();
        if (!unfinished) wrong.add(text.slice(0, node.from).split("\n").length);
      },
    });
    if (!wrong.size) return true;
    const lines = text.split("\n").filter((line) => line.trim());
    return LIKE_CODE.test(lines[0]) || wrong.size * 3 <= lines.length;
  };
}

/** The pieces of a command line that have a colour, as `{ name, from, to }`. */
export function commandTokens(text) {
  const found = [];
  const token = /(%%?[A-Za-z_][\w.]*|^#[ \t]*keep[ \t]*$|^[!?]+|\?+[ \t]*$)|(--?[A-Za-z][\w-]*)|("[^"\n]*"|'[^'\n]*')|(\b\d+(?:\.\d+)?\b)/gim;
  for (const match of text.matchAll(token)) {
    const name = match[1] ? "CommandName" : match[2] ? "Option" : match[3] ? "Text" : "Number";
    if (name === "CommandName" && text.slice(0, match.index).split("\n").pop().trim()) continue;
    found.push({ name, from: match.index, to: match.index + match[0].length });
  }
  return found;
}

/**
 * Registers the language "aiki". Python and Markdown are the application's own, loaded
 * when the first AIKI cell asks for them.
 *
 * `shared(name)` resolves to a module that the application shares.
 */
export function addLanguage(registry, modules) {
  registry.addLanguage({
    name: "aiki",
    displayName: "AIKI",
    mime: MIME,
    extensions: ["aiki"],
    load: async () => {
      const [python, prose] = await Promise.all([
        registry.getLanguage("ipython"),
        registry.getLanguage("ipythongfm"),
      ]);
      return support(registry, modules, python.support, prose.support);
    },
  });
}

function support(registry, modules, python, prose) {
  const { language, common, highlight, view } = modules;
  const isPython = judgeOf(python.language.parser);

  const data = language.defineLanguageFacet({ commentTokens: { line: "#" } });
  const names = ["Cell", "Command", "Prose", "Python", "Code", "CommandName", "Option", "Text", "Number"];
  const types = new common.NodeSet(
    names.map((name, id) =>
      common.NodeType.define({
        id,
        name,
        top: id === 0,
        props: id === 0 ? [[language.languageDataProp, data]] : [],
      }),
    ),
  ).extend(
    highlight.styleTags({
      CommandName: highlight.tags.keyword,
      Option: highlight.tags.propertyName,
      Text: highlight.tags.string,
      Number: highlight.tags.number,
    }),
  ).types;
  const type = Object.fromEntries(names.map((name, id) => [name, types[id]]));
  const leaf = (name, length) => new common.Tree(type[name], [], [], length);
  const kinds = { prose: "Prose", python: "Python", code: "Code" };

  // The languages of code pieces, by where they begin; filled by the outer parse.
  const outer = (input) => {
    const text = input.read(0, input.length);
    const children = [];
    const positions = [];
    const languages = new Map();
    for (const piece of regions(text, isPython)) {
      const length = piece.to - piece.from;
      positions.push(piece.from);
      if (piece.kind !== "command") {
        children.push(leaf(kinds[piece.kind], length));
        if (piece.kind === "code") languages.set(piece.from, piece.language);
        continue;
      }
      const tokens = commandTokens(text.slice(piece.from, piece.to));
      children.push(
        new common.Tree(
          type.Command,
          tokens.map((token) => leaf(token.name, token.to - token.from)),
          tokens.map((token) => token.from),
          length,
        ),
      );
    }
    return { tree: new common.Tree(type.Cell, children, positions, text.length), languages };
  };

  const other = (name) => {
    const found = registry.findBest(name, false);
    if (!found) return null;
    if (found.support) return found.support.language.parser;
    return language.ParseContext.getSkippingParser(registry.getLanguage(found.name));
  };

  class CellParser extends common.Parser {
    createParse(input, fragments, ranges) {
      let languages = new Map();
      const first = {
        parsedPos: 0,
        stoppedAt: null,
        stopAt(pos) {
          this.stoppedAt = pos;
        },
        advance() {
          const made = outer(input);
          languages = made.languages;
          this.parsedPos = input.length;
          return made.tree;
        },
      };
      const inner = common.parseMixed((node) => {
        if (node.type === type.Prose) return { parser: prose.language.parser };
        if (node.type === type.Python) return { parser: python.language.parser };
        if (node.type !== type.Code) return null;
        const parser = other(languages.get(node.from));
        return parser && { parser };
      });
      return inner(first, input, fragments, ranges);
    }
  }

  // What an editor looks like follows what is written in it; a text is asked once.
  const known = new WeakMap();
  const prosy = (doc) => {
    if (!known.has(doc)) known.set(doc, hasProse(regions(doc.toString(), isPython)));
    return known.get(doc);
  };
  const manners = view.EditorView.contentAttributes.of((editor) =>
    prosy(editor.state.doc)
      ? { class: "cm-lineWrapping", spellcheck: "true", autocorrect: "on", autocapitalize: "sentences" }
      : null,
  );

  const aiki = new language.Language(data, new CellParser(), [], "aiki");
  return new language.LanguageSupport(aiki, [prose.support, python.support, manners]);
}
