// Code in an answer: found in the rendered Markdown, copied, inserted as a cell. Never run.

const PYTHON = new Set(["python", "py", "python3", "py3", "ipython", "ipython3", "pycon"]);
const LABEL = /(?:^|\s)language-(\S+)/;

/**
 * The code blocks under `node`, in order, as `{ pre, text, python }`.
 *
 * `isPython(text)` judges blocks without a language; small models often leave it out.
 */
export function codeBlocks(node, isPython = () => false) {
  return [...node.querySelectorAll("pre")].flatMap((pre) => {
    const code = pre.querySelector("code");
    if (!code) return [];
    const label = LABEL.exec(code.className)?.[1].toLowerCase() ?? "";
    const text = withoutPrompts(code.textContent.replace(/\n$/, ""));
    if (!text.trim()) return [];
    return [{ pre, text, python: label ? PYTHON.has(label) : isPython(text) }];
  });
}

/** The code in a Python session that was copied with its prompts; else the text itself. */
export function withoutPrompts(text) {
  if (!text.startsWith(">>> ")) return text;
  return text
    .split("\n")
    .filter((line) => /^(?:>>>|\.\.\.)(?: |$)/.test(line))
    .map((line) => line.slice(4))
    .join("\n");
}

/** What a cell holds for a block: under `%%python` where a cell would be a message. */
export function cellSource(text, aiki) {
  const magic = /^\s*%%python[ \t]*\n/;
  if (!aiki) return text.replace(magic, "");
  return text.startsWith("%%") ? text : `%%python\n${text}`;
}

/** Whether a notebook with these metadata speaks AIKI. */
export function isAiki(metadata) {
  const info = metadata?.language_info?.name;
  if (info) return info === "aiki";
  const spec = metadata?.kernelspec;
  return spec?.language ? spec.language === "aiki" : spec?.name === "aiki";
}

/**
 * Where to put a cell so that blocks of one answer stand in the order they were inserted.
 *
 * `ids` are the ids of a notebook's cells, `index` is the answer's, `before` the ids that
 * were inserted for it earlier.
 */
export function placeBelow(ids, index, before) {
  let at = index + 1;
  while (at < ids.length && before.has(ids[at])) at += 1;
  return at;
}

/**
 * Gives each block of a rendered answer its buttons; twice is as good as once.
 *
 * `actions.copy(block)` and `actions.insert(block)` say, when they are done, what a reader
 * should hear; what they throw is shown. `icons` holds makers of elements.
 */
export function addButtons(node, { isPython, actions, icons }) {
  for (const block of codeBlocks(node, isPython)) {
    if (block.pre.parentElement.classList.contains("aiki-code")) continue;
    const frame = document.createElement("div");
    frame.className = "aiki-code";
    const tools = document.createElement("div");
    tools.className = "aiki-code-tools";
    const said = document.createElement("span");
    said.className = "aiki-code-said";
    said.setAttribute("role", "status");
    const button = (label, icon, act) => {
      const made = document.createElement("button");
      made.type = "button";
      made.title = label;
      made.setAttribute("aria-label", label);
      if (icon) made.append(icon());
      made.dataset.label = label.split(" ", 1)[0];
      made.addEventListener("click", async (event) => {
        event.stopPropagation(); // the notebook would select the cell and take the focus
        said.textContent = "";
        said.classList.remove("aiki-refused");
        try {
          said.textContent = await act(block);
          made.classList.add("aiki-done");
          setTimeout(() => made.classList.remove("aiki-done"), 1600);
        } catch (error) {
          said.textContent = error.message;
          said.classList.add("aiki-refused");
        }
      });
      // A key pressed on a button is not a shortcut of the notebook (Enter would edit).
      made.addEventListener("keydown", (event) => {
        if (event.key === "Enter" || event.key === " ") event.stopPropagation();
      });
      tools.append(made);
    };
    button("Copy code", icons.copy, actions.copy);
    if (block.python) button("Insert as cell", icons.insert, actions.insert);
    block.pre.replaceWith(frame);
    frame.append(block.pre, tools, said);
  }
}
