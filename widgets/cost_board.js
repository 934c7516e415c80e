// The cost board. A plain ES module: no bundler, nothing fetched.
//
// It shows what aiki_kernel/display/cost_facts.py made, in its words. While it is seen it asks anew
// every few seconds; closed, hidden or scrolled away it asks for nothing.

import { asking, coded, dict, el, frame, keepFocus, list, number, parted, place, roving, said, say, words } from "./aiki.js";

const SPANS = [["today", "Today"], ["7", "7 days"], ["30", "30 days"]];
const HEADS = ["calls", "tokens", "cost"];

export function height(usd, most) {
  return usd > 0 && most > 0 ? Math.max(4, Math.round((100 * usd) / most)) : 0;
}

function render({ model, el: host }) {
  const ask = asking(model);
  const root = frame(host, "costs", "Costs");
  let board = dict(model.get("board"));
  let span = words(board.span) || "7";
  let by = "model";
  let over = false;
  let seen = true;
  const headline = el("strong", { class: "aiki-sum", role: "status" });
  const spans = el("span", { class: "aiki-row aiki-push", role: "group", "aria-label": "Which days" });
  const counted = el("div", { class: "aiki-soft" });
  const bars = el("div", { class: "aiki-costbars", role: "group" });
  const scale = el("div", { class: "aiki-row aiki-soft aiki-small aiki-scale" });
  const caps = el("div", {});
  const lines = el("div", { class: "aiki-soft" });
  const tabs = el("span", { class: "aiki-row", role: "group", "aria-label": "What the money went to" });
  const table = el("div", { class: "aiki-scroll aiki-costtable" });
  const trouble = el("div", { class: "aiki-note aiki-bad", role: "alert", hidden: true });
  const copied = el("span", { class: "aiki-soft", role: "status" });
  const button = (name, kind) => el("button", { class: "aiki-button", type: "button", "aria-label": `Copy the table as ${name}`, onclick: () => copy(kind, name) }, `Copy ${name}`);
  const box = el("textarea", { class: "aiki-input aiki-copybox", "aria-label": "The text to copy", readOnly: true, hidden: true, rows: 5 });
  root.append(
    el("div", { class: "aiki-row" }, headline, spans),
    counted, bars, scale, caps, lines, trouble,
    el("div", { class: "aiki-row" }, tabs, el("span", { class: "aiki-row aiki-push" }, copied, button("CSV", "csv"), button("JSON", "json"))),
    table, box,
  );
  const renew = roving(bars, ".aiki-barbutton");

  async function look() {
    const told = await ask("look", { span }, true);
    if (told === null || over) return;
    trouble.hidden = !told.error;
    say(trouble, told.error ? `${told.error} Last seen ${words(board.at)}.` : "");
    if (told.error) return;
    board = dict(told.board);
    draw();
  }

  async function copy(kind, name) {
    const told = await ask("copy", { as: kind, span, by });
    if (told === null) return;
    if (told.error) {
      trouble.hidden = false;
      return say(trouble, told.error);
    }
    box.hidden = true;
    try {
      await navigator.clipboard.writeText(told.text);
      say(copied, `${name} copied.`);
    } catch {
      box.value = told.text; // a page that may not write to the clipboard
      box.hidden = false;
      box.focus();
      box.select();
      say(copied, "Press Ctrl+C to copy.");
    }
    setTimeout(() => say(copied, ""), 4000);
  }

  const pressed = (where, all, chosen, choose) => keepFocus(where, () => where.replaceChildren(
    ...all.map(([value, name]) =>
      el("button", { class: "aiki-button", type: "button", "aria-pressed": String(value === chosen), data: { key: value }, onclick: () => choose(value) }, name)),
  ));

  function drawBars() {
    const found = list(board.bars).map(dict);
    const most = Math.max(0, ...found.map((bar) => number(bar.usd) ?? 0));
    bars.setAttribute("aria-label", board.span === "today" ? "Cost by hour" : "Cost by day");
    keepFocus(bars, () => bars.replaceChildren(...found.map((bar, n) => {
      const label = `${bar.name}: ${bar.said}`;
      const every = found.length > 12 ? 5 : 1;
      return el("button", { class: "aiki-barbutton", type: "button", title: label, "aria-label": label, data: { key: `bar ${n}` } },
        el("span", { class: "aiki-column" }, el("i", { class: bar.unknown ? "aiki-unpriced" : "", style: { height: `${height(bar.usd, most)}%` } })),
        el("span", { class: "aiki-small aiki-soft aiki-tick" }, n % every === 0 ? words(bar.short) : ""));
    })));
    renew();
    const best = found.find((bar) => most > 0 && bar.usd === most);
    place(scale, [
      best && el("span", {}, `The most: ${words(best.said).split(",")[0]} ${board.span === "today" ? "at" : "on"} ${words(best.name)}`),
      found.some((bar) => bar.unknown) && el("span", {}, el("i", { class: "aiki-swatch" }), " with calls of unknown price"),
    ].filter(Boolean));
  }

  function draw() {
    say(headline, words(board.said));
    say(counted, words(board.counted));
    pressed(spans, SPANS, span, (value) => { span = value; draw(); look(); });
    drawBars();
    caps.replaceChildren(...list(board.caps).map((cap) => {
      const share = Math.min(1, number(cap.share) ?? 0);
      return el("div", { class: "aiki-cap" }, el("div", {}, words(cap.said)),
        el("div", { class: "aiki-bar", role: "img", "aria-label": `${Math.round(100 * share)} % used` }, el("i", { style: { width: `${(100 * share).toFixed(1)}%`, "--aiki-colour": share >= 1 ? "var(--aiki-down)" : share >= 0.8 ? "var(--aiki-degraded)" : "var(--aiki-ok)" } })));
    }));
    lines.replaceChildren(...list(board.lines).map((line) => el("div", {}, coded(line))));
    drawTable();
  }

  function drawTable() {
    const groups = dict(board.groups);
    pressed(tabs, Object.keys(groups).map((name) => [name, `by ${name}`]), by, (name) => { by = name; drawTable(); });
    const rows = list(groups[by]);
    table.replaceChildren(rows.length
      ? el("table", { class: "aiki-table" },
        el("thead", {}, el("tr", {}, el("th", { scope: "col" }, by), ...HEADS.map((name, n) => el("th", { scope: "col", class: `aiki-figure ${n === 1 ? "aiki-wide" : ""}` }, name)))),
        el("tbody", {}, ...rows.map((row) => el("tr", {}, ...list(row).map((cell, n) => el("td", { class: n ? `aiki-figure ${n === 2 ? "aiki-wide" : ""} ${n === 3 ? "aiki-spentcell" : ""}` : "" }, said(cell)))))))
      : el("div", { class: "aiki-empty" }, "Nothing was spent here."));
  }

  const watcher = typeof IntersectionObserver === "function"
    ? new IntersectionObserver((entries) => {
      const was = seen;
      seen = entries.at(-1).isIntersecting;
      if (seen && !was) look();
    })
    : null;
  watcher?.observe(root);
  const timer = setInterval(() => {
    if (seen && document.visibilityState !== "hidden") look();
  }, 1000 * Math.max(5, number(model.get("every")) ?? 15));

  draw();
  look();
  const kept = parted(model, root, () => {
    ask.parted = true;
    clearInterval(timer);
  });
  return () => {
    over = true;
    kept();
    clearInterval(timer);
    watcher?.disconnect();
    ask.end();
  };
}

export default { render };
