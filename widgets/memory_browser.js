// The memory browser. A plain ES module: no bundler, nothing fetched.
//
// The page that it opens with is the model's; all else is asked of the kernel, which asks the
// memory's daemon (aiki_kernel/display/memory_browser.py). A memory is other people's text: it
// reaches the page by textContent only.

import { asking, dict, el, frame, grouped, keepFocus, keys, list, parted, place, roving, said, say, words } from "./aiki.js";

const EMPTY = { query: "", kind: "", tag: "", who: "", trust: "", state: "", period: "", since: "", until: "" };
const STATES = [["", "All that is there"], ["use", "In use"], ["held", "In quarantine"], ["gone", "Gone"]];
const PERIODS = [["", "any time"], ["today", "today"], ["7d", "last 7 days"], ["30d", "last 30 days"], ["365d", "last 365 days"]];
const ANY = { kind: "any kind", tag: "any tag", who: "anybody", trust: "any trust" };
const NAMES = { kind: "Kind", tag: "Tag", who: "By or about whom", trust: "Who vouches for it" };
const TYPING_MS = 200;

// Who, what and whence, as in static_memory.py.
export function about(one) {
  const tags = list(one.tags).map((tag) => `#${tag}`);
  return [one.who, one.kind, one.trust, one.where, ...tags, ...list(one.marks)].filter(Boolean).join(" · ");
}

export function left(one) {
  const gone = dict(one.gone);
  return `${words(gone.when)}${gone.by ? ` by ${gone.by}` : ""}: ${words(gone.why)}`;
}

export function quoted(text, most = 48) {
  const short = words(text).trim();
  return `“${short.length > most ? `${short.slice(0, most - 1)}…` : short}”`;
}

const option = (value, text, chosen) => el("option", { value, selected: value === chosen }, words(text));

function render({ model, el: host }) {
  const ask = asking(model);
  const root = frame(host, "memories", "Memories");
  let wanted = { ...EMPTY, ...dict(model.get("wanted")) };
  let page = dict(model.get("page"));
  let labels = {};
  let line = { unit: "day", bars: [] };
  let zoom = wanted.since || wanted.until ? [{ since: wanted.since, until: wanted.until, name: "the period asked for" }] : [];
  let picked = null;
  let here = { after: "", first: 0 };
  let passed = [];
  let open = null; // { row, id, memory, mode }
  let undos = [];
  let over = false;

  // ---- what stands -------------------------------------------------------------------------
  const search = el("input", {
    class: "aiki-input aiki-grow",
    type: "search",
    placeholder: "Search the memory",
    "aria-label": "Search the memory",
    value: wanted.query,
    autocomplete: "off",
    spellcheck: false,
    data: { key: "search" },
  });
  const state = el("select", { class: "aiki-input", "aria-label": "Which memories", data: { key: "state" } });
  const selects = Object.keys(ANY).map((name) =>
    el("select", { class: "aiki-input aiki-filter", name, "aria-label": NAMES[name], data: { key: name } }),
  );
  const period = el("select", { class: "aiki-input aiki-filter", "aria-label": "When", data: { key: "period" } });
  const clear = el("button", { class: "aiki-button aiki-quiet", type: "button", data: { key: "clear" } }, "Clear");
  const back = el("button", { class: "aiki-button aiki-quiet aiki-back", type: "button", data: { key: "back" } });
  const span = el("span", { class: "aiki-soft aiki-small" });
  const bars = el("div", { class: "aiki-bars", role: "group" });
  const time = el("div", { class: "aiki-time" }, el("div", { class: "aiki-timehead" }, span, back), bars);
  const headline = el("strong", { role: "status" });
  const note = el("div", { class: "aiki-soft", hidden: true });
  const trouble = el("div", { class: "aiki-note aiki-bad", role: "alert", hidden: true });
  const rows = el("ul", { class: "aiki-list aiki-rows" });
  const newer = el("button", { class: "aiki-button", type: "button", data: { key: "newer" } }, "‹ Newer");
  const older = el("button", { class: "aiki-button", type: "button", data: { key: "older" } }, "Older ›");
  const undone = el("div", { class: "aiki-undos", role: "log", "aria-label": "What was done" });
  root.append(
    el("div", { class: "aiki-row", role: "search" }, search, state),
    el("div", { class: "aiki-row aiki-filters" }, ...selects, period, clear),
    time,
    trouble,
    el("div", { class: "aiki-row" }, headline, el("span", { class: "aiki-push aiki-pager" }, newer, older)),
    note,
    rows,
    undone,
  );
  const renewBars = roving(bars, ".aiki-barbutton");
  const renewRows = roving(rows, ".aiki-open");

  // ---- asking ------------------------------------------------------------------------------
  function failed(told, again) {
    if (told === null || over) return true;
    if (!told.error) {
      trouble.hidden = true;
      return false;
    }
    const retry = el("button", { class: "aiki-button aiki-quiet", type: "button", onclick: () => { trouble.hidden = true; again(); } }, "Try again");
    const close = el("button", { class: "aiki-button aiki-quiet aiki-icon", type: "button", "aria-label": "Close this message", onclick: () => { trouble.hidden = true; } }, "×");
    trouble.replaceChildren(el("div", { class: "aiki-row" }, el("span", { class: "aiki-grow" }, said(told.error)), retry, close));
    trouble.hidden = false;
    return true;
  }

  async function load() {
    rows.setAttribute("aria-busy", "true");
    const told = await ask("page", { wanted, ...here }, true);
    if (told === null) return;
    rows.removeAttribute("aria-busy");
    if (failed(told, load)) return;
    page = dict(told.page);
    if (!list(page.rows).length && passed.length) return turn(-1); // the last of this page is gone
    drawPage();
  }

  async function loadLabels() {
    const told = await ask("labels");
    if (failed(told, loadLabels)) return;
    labels = dict(told.labels);
    drawFilters();
  }

  async function loadTime() {
    const top = zoom.at(-1);
    const bounds = { since: top?.since ?? "", until: top?.until ?? "" };
    const told = await ask("timeline", { wanted: { ...wanted, query: "", ...bounds } }, true);
    if (failed(told, loadTime)) return;
    line = dict(told.timeline);
    drawTime();
  }

  function afresh(timeToo = true) {
    here = { after: "", first: 0 };
    passed = [];
    open = null;
    rows.style.minHeight = "";
    drawFilters();
    load();
    if (timeToo) loadTime();
  }

  function turn(way) {
    if (way > 0) {
      if (!page.next) return;
      passed.push(here);
      here = { after: page.next, first: here.first + list(page.rows).length };
    } else {
      if (!passed.length) return;
      here = passed.pop();
    }
    open = null;
    rows.style.minHeight = `${rows.offsetHeight}px`; // a short last page moves nothing
    load();
  }

  // ---- filters and time --------------------------------------------------------------------
  function drawFilters() {
    place(state, STATES.map(([value, name]) => {
      const held = value === "held" && labels.held ? ` (${grouped(labels.held)})` : "";
      return option(value, name + held, wanted.state);
    }));
    state.value = wanted.state;
    const gone = wanted.state === "gone";
    for (const select of selects) {
      const name = select.name;
      const known = list(labels[name]);
      const missing = wanted[name] && !known.some(([value]) => value === wanted[name]);
      place(select, [
        option("", ANY[name], wanted[name]),
        ...(missing ? [option(wanted[name], wanted[name].split(":").at(-1), wanted[name])] : []),
        ...known.map(([value, text, count]) => option(value, `${text} (${grouped(count)})`, wanted[name])),
      ]);
      select.value = wanted[name];
      select.classList.toggle("aiki-set", Boolean(wanted[name]));
      select.disabled = gone;
    }
    const bound = picked ?? zoom.at(-1)?.name;
    place(period, [
      ...(bound ? [option("…", bound, "…")] : []),
      ...PERIODS.map(([value, name]) => option(value, name, bound ? "…" : wanted.period)),
    ]);
    period.value = bound ? "…" : wanted.period;
    period.classList.toggle("aiki-set", Boolean(bound || wanted.period));
    period.disabled = gone;
    time.hidden = gone;
    const set = Object.keys(EMPTY).some((name) => wanted[name]) || zoom.length;
    clear.style.visibility = set ? "visible" : "hidden";
  }

  function drawTime() {
    const found = list(line.bars);
    const most = Math.max(1, ...found.map((bar) => bar.count));
    const top = zoom.at(-1);
    const set = Object.keys(EMPTY).some((name) => wanted[name]) || zoom.length;
    time.hidden = wanted.state === "gone" || (!found.length && !set && !list(page.rows).length);
    const whole = [...new Set([found[0]?.name, found.at(-1)?.name])].join(" – ");
    say(span, found.length ? `${top ? top.name : whole}, by ${line.unit}` : "");
    back.textContent = zoom.length > 1 ? `‹ ${zoom.at(-2).name}` : "‹ All time";
    back.hidden = !zoom.length;
    bars.setAttribute("aria-label", `How many memories there are by ${line.unit}; arrows go among them, Enter takes one`);
    keepFocus(bars, () =>
      bars.replaceChildren(
        ...found.map((bar) => {
          const chosen = picked !== null && wanted.since === bar.since;
          const label = `${bar.name}: ${grouped(bar.count)} ${bar.count === 1 ? "memory" : "memories"}`;
          const height = bar.count ? Math.max(6, Math.round((100 * bar.count) / most)) : 0;
          return el(
            "button",
            {
              class: "aiki-barbutton",
              type: "button",
              title: label,
              "aria-label": label,
              "aria-pressed": String(chosen),
              data: { key: `bar ${bar.since}` },
              onclick: () => pick(bar),
            },
            el("i", { style: { height: `${height}%` } }),
          );
        }),
      ),
    );
    renewBars();
  }

  function pick(bar) {
    wanted.period = "";
    if (line.unit !== "day") {
      zoom.push(bar);
      [wanted.since, wanted.until] = [bar.since, bar.until];
      picked = null;
      return afresh();
    }
    const again = picked !== null && wanted.since === bar.since;
    const top = zoom.at(-1);
    picked = again ? null : bar.name;
    wanted.since = again ? (top?.since ?? "") : bar.since;
    wanted.until = again ? (top?.until ?? "") : bar.until;
    drawTime();
    afresh(false);
  }

  function unzoom(all = false) {
    if (all) zoom = [];
    else zoom.pop();
    picked = null;
    const top = zoom.at(-1);
    [wanted.since, wanted.until] = [top?.since ?? "", top?.until ?? ""];
  }

  // ---- memories ----------------------------------------------------------------------------
  function drawPage() {
    say(headline, words(page.said));
    note.hidden = !page.note;
    say(note, words(page.note));
    newer.disabled = !passed.length;
    older.disabled = !page.next;
    const ranked = wanted.query && wanted.state !== "gone" && wanted.state !== "held";
    newer.textContent = ranked ? "‹ Better" : "‹ Newer";
    older.textContent = ranked ? "More ›" : "Older ›";
    newer.hidden = older.hidden = !passed.length && !page.next;
    drawRows();
  }

  function drawRows() {
    keepFocus(rows, () => rows.replaceChildren(...list(page.rows).map((one) => drawRow(dict(one)))));
    renewRows();
  }

  function drawRow(one) {
    const isOpen = open !== null && open.row === one.id;
    const gone = Boolean(one.gone);
    const head = el(
      "button",
      {
        class: "aiki-open",
        type: "button",
        "aria-expanded": gone ? null : String(isOpen),
        data: { key: `open ${one.id}` },
        onclick: () => (gone ? null : toggle(one.id)),
      },
      el("span", { class: "aiki-text" }, said(one.text)),
      el("span", { class: "aiki-soft aiki-small aiki-about" }, el("span", { class: "aiki-when" }, words(one.when)), " ", said(about(one))),
    );
    const item = el("li", { class: one.held ? "aiki-held" : "" }, head);
    if (gone) {
      item.append(
        el("div", { class: "aiki-row aiki-gone" },
          el("span", { class: "aiki-soft aiki-grow" }, said(left(one))),
          el("button", { class: "aiki-button", type: "button", data: { key: `back ${one.id}` }, onclick: () => bringBack(one) }, "Bring back")),
      );
    }
    if (isOpen) item.append(drawOpen());
    return item;
  }

  async function toggle(id) {
    if (open?.row === id) {
      open = null;
      return drawRows();
    }
    open = { row: id, id, memory: null, mode: "" };
    drawRows();
    await reopen();
  }

  async function reopen() {
    const asked = open;
    const told = await ask("open", { memory: asked.id }, true);
    if (open !== asked || failed(told, reopen)) return;
    asked.memory = dict(told.memory);
    drawRows();
  }

  function drawOpen() {
    const memory = open.memory;
    if (!memory) return el("div", { class: "aiki-opened aiki-soft" }, "…");
    const parts = [drawText(memory), drawTags(memory), drawActions(memory)];
    const facts = list(memory.facts).map(([name, value]) => [el("dt", { class: "aiki-soft" }, words(name)), el("dd", {}, said(value))]);
    parts.push(el("dl", { class: "aiki-known" }, ...facts.flat()));
    if (list(memory.related).length) {
      parts.push(el("ul", { class: "aiki-related" }, ...list(memory.related).map((one) =>
        el("li", {}, el("span", { class: "aiki-soft" }, `${words(one.how)}: `), said(one.text), one.when ? el("span", { class: "aiki-soft" }, ` ${one.when}`) : null, " ",
          one.there ? el("button", { class: "aiki-button aiki-quiet", type: "button", data: { key: `see ${one.id}` }, onclick: () => { open = { ...open, id: one.id, memory: null, mode: "" }; drawRows(); reopen(); } }, "Open") : null))));
    }
    if (memory.note) parts.push(el("div", { class: "aiki-soft" }, said(memory.note)));
    const events = list(memory.history);
    if (events.length) {
      parts.push(el("details", { class: "aiki-history", open: open.told ?? false, ontoggle: (event) => { open.told = event.target.open; } },
        el("summary", { data: { key: "history" } }, `History (${events.length})`),
        el("ol", {}, ...events.map((one) =>
          el("li", {}, el("span", { class: "aiki-when" }, words(one.when)), " ", said([one.what, one.by && `by ${one.by}`, one.why].filter(Boolean).join(", ")),
            one.old || one.new ? el("div", { class: "aiki-soft" }, said(`${one.old || "nothing"} → ${one.new || "nothing"}`)) : null)))));
    }
    return el("div", { class: "aiki-opened" }, ...parts);
  }

  function drawText(memory) {
    if (open.mode !== "edit") return el("div", { class: "aiki-whole", tabIndex: 0, role: "group", "aria-label": "The whole text" }, said(memory.whole));
    const box = el("textarea", { class: "aiki-input aiki-edit", "aria-label": "The text of the memory", value: open.draft ?? memory.whole, rows: 5, data: { key: "edit" }, oninput: () => { open.draft = box.value; } });
    keys(box, { Escape: () => mode(""), Tab: () => false });
    return box;
  }

  function drawTags(memory) {
    const tags = list(memory.tags);
    const box = el("input", { class: "aiki-input aiki-newtag", type: "text", placeholder: "add a tag", "aria-label": "Add a tag", maxLength: 40, value: open.tag ?? "", data: { key: "newtag" }, oninput: () => { open.tag = box.value; } });
    keys(box, {
      Enter: () => {
        const word = box.value.trim();
        if (!word) return;
        open.tag = "";
        retag(memory, [...tags, word]);
      },
    });
    return el("div", { class: "aiki-row" },
      ...tags.map((tag) =>
        el("span", { class: "aiki-chip" }, said(`#${tag}`), " ",
          el("button", { class: "aiki-untag", type: "button", "aria-label": `Take away the tag ${tag}`, data: { key: `untag ${tag}` }, onclick: () => retag(memory, tags.filter((one) => one !== tag)) }, "×"))),
      box);
  }

  function drawActions(memory) {
    const button = (text, key, onclick, more = "") => el("button", { class: `aiki-button ${more}`, type: "button", data: { key }, onclick }, text);
    if (open.mode === "edit") {
      return el("div", { class: "aiki-row" }, button("Save", "save", () => rewrite(memory)), button("Cancel", "cancel", () => mode(""), "aiki-quiet"));
    }
    if (open.mode === "forget" || open.mode === "hold") {
      const forgetting = open.mode === "forget";
      const why = el("input", { class: "aiki-input aiki-grow", type: "text", placeholder: "why (its history keeps it)", "aria-label": "Why", maxLength: 200, data: { key: "why" } });
      const go = () => (forgetting ? forget(memory, why.value) : hold(memory, why.value));
      keys(why, { Enter: go, Escape: () => mode("") });
      return el("div", { class: "aiki-row", role: "group", "aria-label": forgetting ? "Forget this memory?" : "Hold this memory back?" },
        el("strong", {}, forgetting ? "Forget this memory?" : "Hold it back from recall?"), why,
        button(forgetting ? "Forget" : "Hold back", "sure", go, "aiki-danger"), button("Keep", "keep", () => mode(""), "aiki-quiet"));
    }
    return el("div", { class: "aiki-row" },
      memory.editable ? button("Edit", "edit-button", () => mode("edit", "edit")) : null,
      memory.held ? button("Release", "release", () => release(memory)) : button("Hold back", "hold", () => mode("hold", "why")),
      button("Forget", "forget", () => mode("forget", "why"), "aiki-danger"));
  }

  function mode(name, focus) {
    open.mode = name;
    open.draft = undefined;
    drawRows();
    const node = focus && rows.querySelector(`[data-key="${focus}"]`);
    if (node) node.focus();
    else rows.querySelector(`[data-key="open ${CSS.escape(open.row)}"]`)?.focus();
  }

  // ---- changing ----------------------------------------------------------------------------
  // `what` is done to a memory; `undo` says how it is taken back, and stays until it is closed.
  async function change(what, memory, more, text, undo) {
    const asked = open;
    const told = await ask(what, { memory: memory.id, ...more });
    if (failed(told, () => change(what, memory, more, text, undo))) return false;
    if (undo) {
      undos.push({ text, undo, id: memory.id });
      drawUndos();
    }
    if (asked && open === asked && told.memory) {
      open.memory = dict(told.memory);
      open.mode = "";
    } else if (open && open.id === memory.id) open = null;
    await load();
    loadLabels();
    if (what === "forget" || what === "undo") loadTime();
    return true;
  }

  const retag = (memory, tags) =>
    change("tag", memory, { tags }, `Changed the tags of ${quoted(memory.text)}.`, ["tag", { tags: list(memory.tags) }]);

  const rewrite = (memory) => {
    const text = open.draft ?? memory.whole;
    if (text === memory.whole) return mode("");
    return change("rewrite", memory, { text }, `Changed the text of ${quoted(memory.text)}.`, ["rewrite", { text: memory.whole }]);
  };
  const hold = (memory, reason) => change("hold", memory, { reason }, `${quoted(memory.text)} is in quarantine.`, ["release", { reason: "undone" }]);
  const release = (memory) => change("release", memory, {}, `${quoted(memory.text)} is recalled again.`, ["hold", { reason: "undone" }]);
  const bringBack = (one) => change("undo", one, {}, `Brought ${quoted(one.text)} back.`, ["forget", { reason: "undone" }]);

  async function forget(memory, reason) {
    const done = await change("forget", memory, { reason }, `Forgot ${quoted(memory.text)}.`, ["undo", {}]);
    if (done) undone.querySelector(".aiki-undo:last-child button")?.focus();
  }

  function drawUndos() {
    place(undone, undos.map((one) => {
      one.node ??= el("div", { class: "aiki-row aiki-undo" }, el("span", { class: "aiki-grow" }, said(one.text)),
        el("button", { class: "aiki-button", type: "button", onclick: () => takeBack(one) }, "Undo"),
        el("button", { class: "aiki-button aiki-quiet aiki-icon", type: "button", "aria-label": "Close; what was done stays", onclick: () => closed(one) }, "×"));
      return one.node;
    }));
  }

  async function takeBack(one) {
    const [what, more] = one.undo;
    if (await change(what, { id: one.id }, more, "", null)) closed(one);
  }

  function closed(one) {
    undos = undos.filter((other) => other !== one);
    drawUndos();
    (undone.querySelector("button") ?? search).focus();
  }

  // ---- the reader --------------------------------------------------------------------------
  let typing = 0;
  const typed = () => {
    clearTimeout(typing);
    if (search.value === wanted.query) return;
    wanted.query = search.value;
    afresh(false);
  };
  search.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(typed, TYPING_MS);
  });
  keys(search, { Enter: typed, ArrowDown: () => { const first = rows.querySelector(".aiki-open"); if (first) first.focus(); } });
  state.addEventListener("change", () => { wanted.state = state.value; afresh(); });
  for (const select of selects) {
    select.addEventListener("change", () => { wanted[select.name] = select.value; afresh(); });
  }
  period.addEventListener("change", () => {
    if (period.value === "…") return;
    unzoom(true);
    wanted.period = period.value;
    afresh();
  });
  back.addEventListener("click", () => { unzoom(); afresh(); bars.querySelector("[tabindex='0']")?.focus(); });
  clear.addEventListener("click", () => {
    wanted = { ...EMPTY };
    search.value = "";
    unzoom(true);
    afresh();
    search.focus();
  });
  newer.addEventListener("click", () => turn(-1));
  older.addEventListener("click", () => turn(1));

  drawFilters();
  drawTime();
  drawPage();
  load();
  loadLabels();
  loadTime();
  const kept = parted(model, root, () => { ask.parted = true; });
  return () => {
    over = true;
    kept();
    clearTimeout(typing);
    ask.end();
  };
}

export default { render };
