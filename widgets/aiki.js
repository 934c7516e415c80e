// What all widgets of AIKI share. A plain ES module: no bundler, nothing fetched.
//
// A widget says `import { el, live } from "./aiki.js";` on one line. anywidget loads one file, so
// aiki_kernel/display/front_end.py puts this text in the line's place; vitest imports both files.
// Text reaches the page by textContent only: memories, names of models and reasons are other
// people's text and must never be markup.

const SVG = "http://www.w3.org/2000/svg";
const TIE = 1e-9; // halves go up, as in Python
const LEAST_USD = 1e-6;

// ---- reading what came over the wire -----------------------------------------------------------

export const list = (v) => (Array.isArray(v) ? v : []);
export const dict = (v) => (v && typeof v === "object" && !Array.isArray(v) ? v : {});
export const words = (v) => (v === null || v === undefined ? "" : String(v));
// A figure: zero to 1e15, or null.
export const number = (v) => (typeof v === "number" && v >= 0 && v <= 1e15 ? v : null);

// ---- making elements ---------------------------------------------------------------------------

// el("button", { class: "aiki-button", "aria-label": "Stop", onclick: stop }, "Stop")
// A property of the element is set as one (hidden, disabled, value, onclick, title); `data` is a
// dict for the dataset, `style` one for the style; anything else is an attribute. What is null is
// left out, and what is false too, but for aria-*: that says "false". Strings become text.
export function el(tag, props = {}, ...children) {
  return furnish(document.createElement(tag), props, children);
}

// The same for SVG, where everything is an attribute.
export function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

function furnish(made, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined) continue;
    if (name === "class") made.className = value;
    else if (name === "data") Object.assign(made.dataset, value);
    else if (name === "style") for (const [k, v] of Object.entries(value)) made.style.setProperty(k, v);
    else if (name.startsWith("aria-")) made.setAttribute(name, String(value));
    else if (name.startsWith("on") || (name in made && name !== "list")) made[name] = value;
    else if (value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat().filter((c) => c !== null && c !== undefined && c !== false));
  return made;
}

// Words with `commands` in them, as code: they are there to be copied.
export const coded = (text) =>
  words(text).split(/`([^`]+)`/).map((part, n) => part && (n % 2 ? el("code", {}, part) : said(part))).filter(Boolean);

// Other people's text: one that reads from right to left does not turn what stands around it.
export const said = (text, name = "") => el("bdi", name ? { class: name } : {}, words(text));

// Put `nodes` into `parent` unless they are there already: moved nodes lose focus and animation.
export function place(parent, nodes) {
  const same =
    parent.childNodes.length === nodes.length && nodes.every((n, i) => parent.childNodes[i] === n);
  if (!same) parent.replaceChildren(...nodes);
}

// Written only when it changes: a screen reader speaks every change of a live region.
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// The outermost element of a widget, put into `host`: <section class="aiki aiki-NAME">.
// Lab's own shortcuts would take Enter and the arrows first (and D D would delete the cell), so
// they are off inside: also at what has the focus, since Notebook's shortcuts look there first.
// Escape gives the keyboard back to the notebook.
export function frame(host, name, label) {
  const root = el("section", {
    class: `aiki aiki-${name}`,
    "aria-label": label,
    data: { lmSuppressShortcuts: "true" },
  });
  root.addEventListener("focusin", (event) => (event.target.dataset.lmSuppressShortcuts = "true"));
  keys(root, {
    Escape: () => {
      const cell = root.closest(".jp-Cell") ?? root.closest(".jp-Notebook");
      if (cell) cell.focus();
      else document.activeElement?.blur?.();
    },
  });
  host.replaceChildren(root);
  return root;
}

// ---- following the model -----------------------------------------------------------------------

// Call `redraw` now and after each message that changes one of `names`: once a message, though it
// changes several. Returns what ends it.
export function live(model, names, redraw) {
  let asked = false;
  let over = false;
  const soon = () => {
    if (asked) return;
    asked = true;
    queueMicrotask(() => {
      asked = false;
      if (!over) redraw();
    });
  };
  for (const name of names) model.on(`change:${name}`, soon);
  redraw();
  return () => {
    over = true;
    for (const name of names) model.off(`change:${name}`, soon);
  };
}

export const PARTED = "The kernel was restarted or has ended: run the cell again.";

// Where the kernel has gone while the widget is open: say so below it, once, and call `then`.
// JupyterLab tells of a restart by an event that has no words, and by a class around the widget;
// of a kernel that died it tells nothing, but to send to it fails: `end.ask(words)` tries. Returns
// what ends it.
export function parted(model, root, then = () => {}) {
  let gone = false;
  const tell = () => {
    if (gone) return;
    gone = true;
    root.append(el("div", { class: "aiki-note aiki-bad aiki-parted", role: "alert" }, PARTED));
    then();
  };
  const look = () =>
    queueMicrotask(() => root.closest(".jupyter-widgets-disconnected") && tell());
  model.on("comm_live_update", look);
  look();
  const end = () => model.off("comm_live_update", look);
  end.ask = (content) => {
    try {
      model.send(content);
    } catch {
      tell();
    }
  };
  return end;
}

// ---- the keyboard ------------------------------------------------------------------------------

// keys(node, { Enter: f, Escape: g, ArrowDown: h }): what has a handler is done and goes no
// further. With Ctrl, Alt or Meta a key belongs to somebody else. A handler that returns false
// did not want the key.
export function keys(node, handlers) {
  node.addEventListener("keydown", (event) => {
    const handler = handlers[event.key];
    if (!handler || event.ctrlKey || event.altKey || event.metaKey) return;
    if (handler(event) === false) return;
    event.preventDefault();
    event.stopPropagation();
  });
}

// One Tab stop for many items (`selector` inside `root`); arrows, Home and End go among them.
// Call what it returns after items were made anew.
export function roving(root, selector) {
  const items = () => [...root.querySelectorAll(selector)].filter((item) => !item.hidden);
  const mark = (chosen) => {
    for (const item of items()) item.tabIndex = item === chosen ? 0 : -1;
  };
  const go = (pick) => () => {
    const all = items();
    const at = all.indexOf(document.activeElement?.closest?.(selector));
    if (at < 0) return false;
    const next = all[Math.max(0, Math.min(all.length - 1, pick(at, all.length)))];
    mark(next);
    next.focus();
    return true;
  };
  const [back, on] = [go((at) => at - 1), go((at) => at + 1)];
  keys(root, {
    ArrowUp: back,
    ArrowLeft: back,
    ArrowDown: on,
    ArrowRight: on,
    Home: go(() => 0),
    End: go((_, count) => count - 1),
  });
  root.addEventListener("focusin", (event) => {
    const item = event.target.closest?.(selector);
    if (item && root.contains(item)) mark(item);
  });
  const renew = () => {
    const all = items();
    mark(all.find((item) => item.tabIndex === 0 && item.dataset.key) ?? all[0]);
  };
  renew();
  return renew;
}

// Redraw without losing the reader's place: the element with the same data-key gets the focus and
// the cursor back. When it is gone, `root`'s first control has the focus.
export function keepFocus(root, redraw) {
  const held = document.activeElement;
  const had = root.contains(held) ? held.closest("[data-key]")?.dataset.key : undefined;
  const span = had !== undefined && typeof held.selectionStart === "number"
    ? [held.selectionStart, held.selectionEnd]
    : null;
  redraw();
  if (had === undefined || root.contains(document.activeElement)) return;
  const now =
    [...root.querySelectorAll("[data-key]")].find((node) => node.dataset.key === had) ??
    root.querySelector("button:not([disabled]),input,select,summary,[tabindex='0']");
  now?.focus();
  if (span && now?.setSelectionRange) now.setSelectionRange(...span);
}

// ---- figures in words, as in aiki_kernel/display/facts.py ---------------------------------------

export const whole = (v) => Math.floor(v + 0.5);
export const grouped = (v) => Math.trunc(v).toLocaleString("en-US");

// `<1 ms`, `480 ms`, `2.4 s`, `1 min 12 s`
export function duration(s) {
  if (s < 0.001) return "<1 ms";
  if (s < 0.9995) return `${whole(s * 1000)} ms`;
  if (s < 59.95) return `${(s + TIE).toFixed(1)} s`;
  return `${Math.floor(whole(s) / 60)} min ${whole(s) % 60} s`;
}

// `0.21 ms`, `3.4 ms`, `120 ms`
export function milliseconds(ms) {
  if (ms < 9.95) return `${(ms + TIE).toFixed(ms < 0.995 ? 2 : 1)} ms`;
  return `${whole(ms)} ms`;
}

// `$0.0123`, `~$0.00031`: two digits that count, and cents at least
export function dollars(usd, mark = "") {
  if (usd === 0) return "$0";
  if (usd < LEAST_USD) return `${mark}<$0.000001`;
  const digits = Math.max(2, 1 - Math.floor(Math.log10(usd)));
  return `${mark}$${(usd * (1 + TIE)).toFixed(digits)}`;
}

// `1,412 → 38 tokens (8 cached)`
export function tokens(usage) {
  const sides = [number(usage.input_tokens), number(usage.output_tokens)];
  if (sides.every((side) => side === null)) return "";
  const mark = usage.estimated ? "~" : "";
  // An answer that was cut: only what came is known.
  if (sides[0] === null) return sides[1] ? `${mark}${grouped(sides[1])} tokens` : "";
  const [given, made] = sides.map((v) => (v === null ? "?" : mark + grouped(v)));
  const cached = number(usage.cached_tokens);
  return `${given} → ${made} tokens${cached >= 1 ? ` (${grouped(cached)} cached)` : ""}`;
}

export function speed(rate) {
  const r = number(rate);
  if (!r) return "";
  return r >= 9.95 ? `${grouped(whole(r))} tok/s` : `${(r + TIE).toFixed(1)} tok/s`;
}

// How long ago, of seconds: `now`, `40 s ago`, `12 min ago`, `3 h ago`
export function age(seconds) {
  if (seconds < 2) return "now";
  if (seconds < 120) return `${Math.floor(seconds)} s ago`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min ago`;
  return `${Math.floor(seconds / 3600)} h ago`;
}

// How long ago, of an ISO date: `44 minutes ago`, `yesterday`, `2 years ago`
export function ago(iso, now = Date.now()) {
  const then = Date.parse(iso);
  if (Number.isNaN(then)) return words(iso).slice(0, 32);
  const seconds = (then - now) / 1000;
  const say = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
  for (const [unit, size] of [
    ["year", 31557600],
    ["month", 2629800],
    ["week", 604800],
    ["day", 86400],
    ["hour", 3600],
    ["minute", 60],
  ]) {
    if (Math.abs(seconds) >= size) return say.format(Math.trunc(seconds / size), unit);
  }
  return "just now";
}

const two = (n) => String(n).padStart(2, "0");

// `14:05`, in the reader's own time zone, of seconds since 1970
export function clock(wall) {
  const at = new Date(wall * 1000);
  return `${two(at.getHours())}:${two(at.getMinutes())}`;
}

// `2026-11-18 09:30`, in the reader's own time zone, of an ISO date
export function moment(iso) {
  const at = new Date(Date.parse(iso));
  if (Number.isNaN(at.getTime())) return words(iso).slice(0, 32);
  const day = [at.getFullYear(), two(at.getMonth() + 1), two(at.getDate())].join("-");
  return `${day} ${clock(at / 1000)}`;
}

// ---- a small line ------------------------------------------------------------------------------

// The `d` of an SVG path through `line`; null is a gap and lifts the pen.
export function path(line, width, height) {
  const values = line.filter((v) => number(v) !== null);
  if (!values.length || line.length < 2) return "";
  const [low, high] = [Math.min(...values), Math.max(...values)];
  let drawn = "";
  let down = false;
  line.forEach((value, index) => {
    if (number(value) === null) {
      down = false;
      return;
    }
    const share = high > low ? (value - low) / (high - low) : 0.5;
    const x = (index * width) / (line.length - 1);
    drawn += `${down ? "L" : "M"}${x.toFixed(1)} ${(1 + (height - 2) * (1 - share)).toFixed(1)}`;
    down = true;
  });
  return drawn;
}

// <svg class="aiki-spark"> through `line`, named `label`; an empty one keeps its room.
export function spark(line, label, width = 96, height = 18) {
  const drawn = path(line, width, height);
  return svg(
    "svg",
    {
      class: "aiki-spark",
      viewBox: `0 0 ${width} ${height}`,
      width,
      height,
      role: drawn && "img",
      "aria-label": drawn && label,
      "aria-hidden": drawn ? null : "true",
    },
    drawn ? svg("path", { d: drawn }) : null,
  );
}

// ---- asking the kernel --------------------------------------------------------------------------

// const ask = asking(model); const told = await ask("page", { wanted }); ask.end();
// What aiki_kernel/display/asked.py answers. `told.error` is one line for the reader. With
// `newest` an older question of the same `what` is given up: its answer is null.
// After `ask.parted = true` every answer is that the kernel has gone.
const AGAIN_MS = 2000;

export function asking(model, patience = 30000) {
  const view = Math.random().toString(36).slice(2);
  const waiting = new Map();
  const last = {};
  let count = 0;
  const settle = (id, told) => {
    const one = waiting.get(id);
    if (!one) return;
    waiting.delete(id);
    clearTimeout(one.timer);
    clearInterval(one.again);
    one.resolve(told);
  };
  const heard = (content) => {
    if (dict(content).type === "answer") settle(content.id, content);
  };
  const silent = { error: "The kernel does not answer: is it running? Then run the cell again." };
  const ask = (what, more = {}, newest = false) =>
    new Promise((resolve) => {
      const id = `${view}-${++count}`;
      if (newest) {
        settle(last[what], null);
        last[what] = id;
      }
      const send = () => {
        try {
          if (ask.parted) return settle(id, { error: PARTED });
          model.send({ ...more, type: "ask", id, view, what });
        } catch {
          settle(id, { error: PARTED }); // the line to it is closed
        }
      };
      const timer = setTimeout(() => settle(id, silent), patience);
      // Words sent before JupyterLab has a subshell for them wait behind a cell.
      waiting.set(id, { resolve, timer, again: setInterval(send, AGAIN_MS) });
      send();
    });
  ask.end = () => {
    model.off("msg:custom", heard);
    for (const id of [...waiting.keys()]) settle(id, null);
  };
  model.on("msg:custom", heard);
  return ask;
}
