// The plugins of this extension, and what each needs of the application.
//
//   aiki-kernel:language   prose and Python in the cells of AIKI notebooks
//   aiki-kernel:answers    code of an answer: copy it, insert it as a cell; two commands
//
// The kernel works without either.

import { addButtons, cellSource, codeBlocks, isAiki, placeBelow } from "./answers.js";
import { MIME, addLanguage, judgeOf } from "./language.js";

const INSERT = "aiki:insert-code";
const COPY = "aiki:copy-code";
const BLOCK = ".aiki-code";

/** JupyterLab's plugins. `shared(name)` resolves to a shared module; `here` is this folder. */
export async function plugins(shared, here) {
  const load = (...names) => Promise.all(names.map(shared));
  const [codemirror, notebook, rendermime, apputils, ui] = await load(
    "@jupyterlab/codemirror",
    "@jupyterlab/notebook",
    "@jupyterlab/rendermime",
    "@jupyterlab/apputils",
    "@jupyterlab/ui-components",
  );
  // Not every application has consoles.
  const { IConsoleTracker } = await shared("@jupyterlab/console").catch(() => ({}));
  const [language, common, highlight, view] = await load(
    "@codemirror/language",
    "@lezer/common",
    "@lezer/highlight",
    "@codemirror/view",
  );
  return [
    {
      id: "aiki-kernel:language",
      description: "Prose and Python in the cells of AIKI notebooks.",
      autoStart: true,
      requires: [codemirror.IEditorLanguageRegistry],
      optional: [notebook.INotebookTracker],
      activate: (app, registry, tracker) => {
        addLanguage(registry, { language, common, highlight, view });
        tracker?.widgetAdded.connect((_, panel) => colourEarly(panel));
      },
    },
    {
      id: "aiki-kernel:answers",
      description: "Code of an answer: copy it, or insert it as a cell.",
      autoStart: true,
      requires: [rendermime.IRenderMimeRegistry, notebook.INotebookTracker],
      optional: [apputils.ICommandPalette, codemirror.IEditorLanguageRegistry, IConsoleTracker].filter(Boolean),
      activate: (app, registry, tracker, palette, languages, consoles) => {
        addStyle(new URL("style.css", here));
        const answers = new Answers(app, { tracker, consoles, clipboard: apputils.Clipboard, languages });
        answers.decorate(registry, {
          copy: () => ui.copyIcon.element({ tag: "span" }),
          insert: () => ui.addBelowIcon.element({ tag: "span" }),
        });
        answers.addCommands(palette);
      },
    },
  ];
}

/**
 * Colours an AIKI notebook before its kernel has said which language it speaks: a new one
 * has no record of it yet, an old one may have another.
 */
async function colourEarly(panel) {
  await panel.context.ready;
  const model = panel.content.model;
  const colour = () => {
    if (panel.isDisposed || !isAiki(model.metadata)) return;
    for (const cell of model.cells) if (cell.type === "code" && cell.mimeType !== MIME) cell.mimeType = MIME;
  };
  colour();
  // The notebook gives a new cell its own idea of the language right after this signal.
  model.cells.changed.connect(() => queueMicrotask(colour));
}

function addStyle(url) {
  const link = document.createElement("link");
  link.rel = "stylesheet";
  link.href = url.href;
  document.head.append(link);
}

/** What a reader can do with the code of an answer. */
class Answers {
  constructor(app, { tracker, consoles, clipboard, languages }) {
    this.app = app;
    this.tracker = tracker;
    this.consoles = consoles;
    this.clipboard = clipboard;
    this.languages = languages;
    this.isPython = null; // until the first answer asks
    this.inserted = new WeakMap(); // the answer's cell -> ids of the cells made from it
  }

  /** A judge of blocks without a language: Python, if it parses and does more than name things. */
  async judge() {
    const python = await this.languages?.getLanguage("ipython");
    const judge = python ? judgeOf(python.support.language.parser) : () => false;
    this.isPython = (text) => /[=(]|^(?:import|from) /m.test(text) && judge(text);
  }

  /** Put buttons on every answer that is rendered from now on, in notebooks and consoles. */
  decorate(registry, icons) {
    const stock = registry.getFactory("text/markdown");
    if (!stock) return;
    const buttons = {
      icons,
      actions: { copy: (block) => this.copy(block), insert: (block) => this.insert(block) },
    };
    const createRenderer = (options) => {
      const made = stock.createRenderer(options);
      const render = made.renderModel.bind(made);
      made.renderModel = async (model) => {
        await render(model);
        if (!model.metadata?.aiki) return;
        if (!this.isPython) await this.judge();
        addButtons(made.node, { ...buttons, isPython: this.isPython });
      };
      return made;
    };
    const factory = Object.assign(Object.create(stock), { createRenderer });
    registry.addFactory(factory, registry.getRank("text/markdown"));
  }

  async copy(block) {
    if (navigator.clipboard?.writeText) await navigator.clipboard.writeText(block.text);
    else this.clipboard.copyToSystem(block.text); // a page over plain HTTP
    return "Copied";
  }

  /** Insert a block below the cell that it stands in. Nothing runs. */
  insert(block) {
    const panel = this.tracker.find((open) => open.node.contains(block.pre));
    const content = panel?.content;
    const index = content?.widgets.findIndex((cell) => cell.node.contains(block.pre)) ?? -1;
    if (index < 0) return this.prompt(block);
    if (content.model.readOnly) throw new Error("This notebook is read-only: copy the code instead.");
    const cells = content.model.cells;
    const mine = this.inserted.get(cells.get(index)) ?? new Set();
    const at = placeBelow([...cells].map((cell) => cell.id), index, mine);
    const source = cellSource(block.text, isAiki(content.model.metadata));
    content.model.sharedModel.insertCell(at, { cell_type: "code", source, metadata: { trusted: true } });
    mine.add(cells.get(at).id);
    this.inserted.set(cells.get(index), mine);
    content.deselectAll();
    content.activeCellIndex = at;
    content.mode = "command";
    content.scrollToItem(at, "smart");
    content.activate();
    return "Inserted as a cell below. It has not been run.";
  }

  /** Put a block into the prompt of the console that it stands in. Nothing runs. */
  prompt(block) {
    const panel = this.consoles?.find((open) => open.node.contains(block.pre));
    const cell = panel?.console.promptCell;
    if (!cell) throw new Error("This answer is not in a notebook: copy the code instead.");
    const aiki = cell.model.mimeType === MIME;
    cell.model.sharedModel.setSource(cellSource(block.text, aiki));
    cell.editor?.focus();
    return "Inserted into the prompt. It has not been run.";
  }

  addCommands(palette) {
    const { commands, contextMenu } = this.app;
    commands.addCommand(COPY, {
      label: "Copy Code of the Answer",
      caption: "Copy the code block under the pointer, or all code of the active cell's answer",
      isEnabled: (args) => this.chosen(args).length > 0,
      execute: (args) => this.copy({ text: this.chosen(args).map((block) => block.text).join("\n\n") }),
    });
    commands.addCommand(INSERT, {
      label: "Insert Code of the Answer as Cells Below",
      caption: "Each Python block becomes a cell of its own; nothing runs",
      isEnabled: (args) => this.chosen(args).some((block) => block.python),
      execute: (args) => {
        for (const block of this.chosen(args)) if (block.python) this.insert(block);
      },
    });
    let rank = -20; // above what a notebook offers
    for (const command of [INSERT, COPY]) {
      palette?.addItem({ command, category: "AIKI" });
      contextMenu.addItem({ command, args: { pointed: true }, selector: BLOCK, rank });
      rank += 1;
    }
  }

  /** The block under the context menu, or the blocks of the active cell's answers. */
  chosen({ pointed }) {
    const isPython = this.isPython ?? undefined;
    if (pointed) {
      const under = this.app.contextMenuHitTest((node) => node.matches?.(BLOCK));
      return under ? codeBlocks(under, isPython) : [];
    }
    const cell = this.tracker.currentWidget?.content.activeCell;
    return cell ? [...cell.node.querySelectorAll(BLOCK)].flatMap((node) => codeBlocks(node, isPython)) : [];
  }
}
