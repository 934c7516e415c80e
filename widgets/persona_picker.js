// The persona picker. A plain ES module: no bundler, nothing fetched.
//
// Cards of aiki_kernel/display/picker_facts.py; a choice is `%aiki_persona NAME`. Arrows go among
// the cards, Enter or Space chooses. Titles and prompts are other people's text.

import { asking, coded, dict, el, frame, keepFocus, list, parted, roving, said, say, words } from "./aiki.js";

function render({ model, el: host }) {
  const ask = asking(model);
  const root = frame(host, "personas", "Personas");
  let page = dict(model.get("page"));
  const headline = el("strong", { role: "status" });
  const cards = el("div", { class: "aiki-cards", role: "radiogroup", "aria-label": "Who answers" });
  const more = el("div", { class: "aiki-soft" });
  const trouble = el("div", { class: "aiki-note aiki-bad", role: "alert", hidden: true });
  root.append(el("div", { class: "aiki-row" }, headline), cards, more, trouble);
  const renew = roving(cards, ".aiki-pick");

  function took(told) {
    if (told === null) return;
    trouble.hidden = !told.error;
    say(trouble, words(told.error));
    if (told.error) return draw();
    page = dict(told.page);
    draw();
    if (told.said) say(headline, told.said);
  }

  async function choose(one) {
    if (one.problem) return;
    cards.setAttribute("aria-busy", "true");
    const told = await ask("choose", { name: one.name });
    cards.removeAttribute("aria-busy");
    took(told);
  }

  function card(one) {
    return el(
      "button",
      {
        class: `aiki-pick ${one.problem ? "aiki-broken" : ""}`,
        type: "button",
        role: "radio",
        "aria-checked": String(Boolean(one.current)),
        "aria-disabled": one.problem ? "true" : null,
        data: { key: `persona ${one.name}` },
        onclick: () => choose(one),
      },
      el("span", { class: "aiki-pickhead" }, el("strong", {}, said(one.title)), el("span", { class: "aiki-soft" }, said(`@${one.name}`)),
        one.current && el("span", { class: "aiki-chip aiki-brand aiki-now", "aria-hidden": "true" }, "now")),
      el("span", { class: one.problem ? "aiki-error" : "" }, coded(one.problem || one.about)),
      el("span", { class: "aiki-pickfacts aiki-small" },
        ...list(one.facts).flatMap(([name, value]) => [el("span", { class: "aiki-soft" }, words(name)), el("span", {}, said(value))])),
    );
  }

  function draw() {
    say(headline, words(page.said));
    more.replaceChildren(...coded(page.more));
    keepFocus(cards, () => cards.replaceChildren(...list(page.rows).map((one) => card(dict(one)))));
    renew();
    if (!cards.contains(document.activeElement)) {
      for (const one of cards.children) one.tabIndex = one.getAttribute("aria-checked") === "true" ? 0 : -1;
      if (!cards.querySelector("[tabindex='0']") && cards.firstChild) cards.firstChild.tabIndex = 0;
    }
  }

  draw();
  ask("find", {}, true).then(took);
  const kept = parted(model, root, () => { ask.parted = true; });
  return () => {
    kept();
    ask.end();
  };
}

export default { render };
