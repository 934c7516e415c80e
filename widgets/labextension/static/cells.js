// What a cell is, told from its text: the twin of aiki_kernel/kernel/cells.py for the eye.
//
// `regions(text, isPython)` cuts a cell into pieces, in order and without gaps:
//
//   command   lines for the kernel: %%python, # keep, %aiki_model smart, %%time, !ls, ?name
//   prose     a message, Markdown
//   python    Python
//   code      the body of a magic in another language, named by `language`
//
// The kernel compiles a body where the rule depends on it (%%time, line magics, Parameters).
// An editor cannot: a body is incomplete while it is typed. `isPython` is the caller's
// tolerant judge; the kernel's word counts.

const PYTHON = /^%%python(?:[ \t].*)?$/;
const AIKI = /^%%aiki(?:[ \t].*)?$/;
const CELL_MAGIC = /^%%([A-Za-z_][\w.]*)/;
const LINE_MAGIC = /^%[A-Za-z_][\w.]*/;
const HELP = /^\?{1,2}[\w.%*]+[ \t]*$/;
const KEEP = /^#[ \t]*keep[ \t]*$/i;
const PARAMETERS = /^#[ \t]*Parameters[ \t]*$/;

// Magics whose body is Python; the rest of IPython's say what theirs is.
const PYTHON_BODIES = new Set(["time", "timeit", "prun", "capture", "debug"]);
const OTHER_BODIES = {
  bash: "shell", sh: "shell", system: "shell", script: "shell", sx: "shell", "!": "shell",
  html: "html", HTML: "html", svg: "xml", SVG: "xml",
  javascript: "javascript", js: "javascript", latex: "stex", markdown: "markdown",
  perl: "perl", ruby: "ruby", python3: "ipython", pypy: "ipython",
};

/** The pieces of a cell as `{ kind, from, to, language? }`; empty ones are left out. */
export function regions(text, isPython) {
  const lead = text.length - text.trimStart().length;
  if (lead === text.length) return text ? [{ kind: "prose", from: 0, to: text.length }] : [];
  const lineEnd = text.indexOf("\n", lead);
  const end = lineEnd < 0 ? text.length : lineEnd;
  const first = text.slice(lead, end).replace(/\r$/, "");
  const body = Math.min(end + 1, text.length);
  const rest = () => text.slice(body);
  const split = (kind, language) => pieces(text, lead, body, kind, language);

  if (KEEP.test(first)) {
    const under = regions(text.slice(body), isPython);
    return [
      { kind: "command", from: lead, to: body },
      ...under.map((piece) => ({ ...piece, from: piece.from + body, to: piece.to + body })),
    ];
  }
  if (PYTHON.test(first)) return split("python");
  if (AIKI.test(first)) return split("prose");
  if (PARAMETERS.test(first)) return whole(text, isPython(text) ? "python" : "prose");
  const magic = CELL_MAGIC.exec(first);
  if (magic) {
    if (PYTHON_BODIES.has(magic[1])) {
      // %%time over %%python: both lines are commands.
      const second = rest().split("\n", 1)[0];
      if (PYTHON.test(second)) {
        return pieces(text, lead, Math.min(body + second.length + 1, text.length), "python");
      }
      return split(isPython(rest()) ? "python" : "prose");
    }
    return split("code", OTHER_BODIES[magic[1]] || "none");
  }
  if (LINE_MAGIC.test(first)) return lineMagics(text, isPython);
  if (first[0] === "!" || HELP.test(first)) return pieces(text, lead, body, "python");
  return whole(text, "prose");
}

/** Whether any of a cell is prose: such a cell wraps and is spell-checked. An empty one will be. */
export function hasProse(found) {
  return found.length === 0 || found.some((piece) => piece.kind === "prose");
}

const whole = (text, kind) => [{ kind, from: 0, to: text.length }];

function pieces(text, from, body, kind, language) {
  const found = [{ kind: "command", from, to: body }];
  if (body < text.length) found.push({ kind, from: body, to: text.length, language });
  return found;
}

function lineMagics(text, isPython) {
  let at = 0;
  const commands = [];
  while (at < text.length) {
    const next = text.indexOf("\n", at);
    const to = next < 0 ? text.length : next + 1;
    const line = text.slice(at, to);
    if (line.trim() && !LINE_MAGIC.test(line.trimStart())) break;
    if (line.trim()) commands.push({ kind: "command", from: at, to });
    at = to;
  }
  if (at >= text.length) return commands;
  const rest = text.slice(at);
  const escapes = rest.split("\n").some((line) => /^[%!]/.test(line.trimStart()));
  const kind = escapes || isPython(rest) ? "python" : "prose";
  return [...commands, { kind, from: at, to: text.length }];
}
