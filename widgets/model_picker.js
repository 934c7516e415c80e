// The model picker. A plain ES module: no bundler, nothing fetched.
//
// Rows of aiki_kernel/display/picker_facts.py; a choice is `%aiki_model NAME`. A few rows are sent,
// however many models there are: the rest is found by typing. Names are other people's text.

import { asking, coded, dict, el, frame, keepFocus, keys, list, parted, roving, said, say, words } from "./aiki.js";

const TIERS = [["", "any"], ["smart", "smart"], ["standard", "standard"], ["cheap", "cheap"], ["local", "local"]];
const TYPING_MS = 200;
const AUTO = { name: "auto", tier: "", given: "", made: "", window: "", size: "", state: "the router chooses", usable: true };

// Whether it can answer, and if not what helps, as in static_pickers.py.
export function state(one) {
  return [one.size, one.state].filter(Boolean).join(", ");
}

function render({ model, el: host }) {
  const ask = asking(model);
  const root = frame(host, "models", "Models");
  let page = dict(model.get("page"));
  const wanted = { query: "", tier: "" };
  const headline = el("strong", { role: "status" });
  const search = el("input", { class: "aiki-input aiki-grow", type: "search", placeholder: "Search all models", "aria-label": "Search all models", autocomplete: "off", spellcheck: false });
  const tiers = el("span", { class: "aiki-row", role: "group", "aria-label": "Tier" });
  const rows = el("div", { class: "aiki-modelrows", role: "radiogroup", "aria-label": "Which model answers" });
  const note = el("div", { class: "aiki-soft aiki-after" });
  const todo = el("div", { class: "aiki-soft" });
  const trouble = el("div", { class: "aiki-note aiki-bad", role: "alert", hidden: true });
  const heads = ["model", "tier", "in $/M", "out $/M", "window", ""];
  root.append(
    el("div", { class: "aiki-row" }, headline),
    el("div", { class: "aiki-row", role: "search" }, search, tiers),
    trouble,
    el("div", { class: "aiki-model aiki-heads aiki-soft aiki-small", "aria-hidden": "true" }, ...heads.map((name, n) => el("span", { class: n >= 2 && n <= 4 ? "aiki-figure" : "" }, name))),
    rows,
    note,
    todo,
  );
  const renew = roving(rows, ".aiki-model");

  function took(told) {
    if (told === null) return;
    rows.removeAttribute("aria-busy");
    trouble.hidden = !told.error;
    say(trouble, words(told.error));
    if (told.error) return;
    page = dict(told.page);
    draw();
    if (told.said) say(headline, told.said);
  }

  function find() {
    rows.setAttribute("aria-busy", "true");
    drawTiers();
    ask("find", { wanted }, true).then(took);
  }

  function choose(one) {
    rows.setAttribute("aria-busy", "true");
    ask("choose", { name: one.name, wanted }).then(took);
  }

  function row(one) {
    const current = one.name === "auto" ? page.current === "auto" : Boolean(one.current);
    const free = one.given === "free";
    const told = one.name === "auto" ? one.state : `${one.tier}, ${free ? "free" : `${one.given} in, ${one.made} out per million tokens`}, ${one.window ? `window ${one.window}, ` : ""}${state(one)}`;
    return el(
      "button",
      {
        class: "aiki-model",
        type: "button",
        role: "radio",
        "aria-checked": String(current),
        "aria-label": `${one.name}: ${told}`,
        data: { key: `model ${one.name}`, usable: one.usable ? "yes" : "no" },
        onclick: () => choose(one),
      },
      el("span", { class: "aiki-modelname" }, el("i", { class: "aiki-dot", "aria-hidden": "true" }), said(one.name)),
      el("span", {}, one.tier ? el("span", { class: "aiki-chip" }, words(one.tier)) : null),
      el("span", { class: "aiki-figure", data: { head: "in" } }, words(one.given)),
      el("span", { class: "aiki-figure", data: { head: "out" } }, words(one.made)),
      el("span", { class: "aiki-figure", data: { head: "fits" } }, words(one.window)),
      el("span", { class: "aiki-soft aiki-modelstate" }, coded(state(one))),
    );
  }

  function drawTiers() {
    keepFocus(tiers, () => tiers.replaceChildren(
      ...TIERS.map(([value, name]) =>
        el("button", { class: "aiki-button", type: "button", "aria-pressed": String(wanted.tier === value), data: { key: `tier ${value}` }, onclick: () => { wanted.tier = value; find(); } }, name)),
    ));
  }

  function draw() {
    say(headline, words(page.said));
    say(note, words(page.note));
    todo.replaceChildren(...coded(page.todo));
    drawTiers();
    const top = wanted.query || wanted.tier ? [] : [AUTO];
    keepFocus(rows, () => rows.replaceChildren(...[...top, ...list(page.rows).map(dict)].map(row)));
    renew();
  }

  let typing = 0;
  const typed = () => {
    clearTimeout(typing);
    if (search.value === wanted.query) return;
    wanted.query = search.value;
    find();
  };
  search.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(typed, TYPING_MS);
  });
  keys(search, { Enter: typed, ArrowDown: () => rows.querySelector(".aiki-model")?.focus() });
  draw();
  ask("find", { wanted }, true).then(took);
  const kept = parted(model, root, () => { ask.parted = true; });
  return () => {
    kept();
    clearTimeout(typing);
    ask.end();
  };
}

export default { render };
