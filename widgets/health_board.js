// The live health board. A plain ES module: no bundler, nothing fetched.
//
// It shows what aiki_kernel/display/board_facts.py made, in the words that static_board.py uses.
// It tells the kernel when it is seen and when not: nobody looks for a board that is closed. All
// text reaches the page through textContent.

import { age, clock, coded, dict, el, frame, list, live, number, parted, said, say, spark, words } from "./aiki.js";

const STATES = ["ok", "degraded", "down", "unknown"];
const known = (v) => (STATES.includes(v) ? v : "unknown");

export function spent(money) {
  const [usd, cap] = [number(money.usd) ?? 0, number(money.day_usd)];
  const said = usd === 0 ? "$0" : usd >= 0.995 ? `$${usd.toFixed(2)}` : `$${usd.toFixed(4)}`;
  return cap === null ? `${said} today, no budget` : `${said} of today's $${cap}`;
}

function row(service) {
  const state = known(service.state);
  return el(
    "li",
    { class: `aiki-service aiki-${state}` },
    el("span", { class: "aiki-title" }, el("i", { class: "aiki-light" }), said(service.title)),
    el("span", { class: "aiki-state" }, state),
    el("span", { class: "aiki-figure" }, words(service.figure)),
    spark(list(service.line), "the last hour"),
    el("span", { class: "aiki-reason" }, coded(service.reason)),
  );
}

function render({ model, el: host }) {
  const root = frame(host, "board", "Health");
  const headline = el("strong", { role: "status" });
  const when = el("span", { class: "aiki-when aiki-push" });
  const again = el("button", { class: "aiki-button aiki-again", type: "button" }, "Look now");
  const filled = el("i");
  const bar = el("div", { class: "aiki-bar aiki-budget" }, filled);
  const told = el("span");
  const money = el("div", { class: "aiki-row aiki-money" }, told, bar);
  const services = el("ul", { class: "aiki-services" });
  const changes = el("div", { class: "aiki-changes" });
  const head = el("div", { class: "aiki-row aiki-head" }, el("i", { class: "aiki-light" }), headline, when, again);
  root.append(head, money, services, changes);

  function aged() {
    const board = dict(model.get("board"));
    const seconds = Math.max(0, Date.now() / 1000 - (number(board.wall_s) ?? 0));
    const stale = seconds > 4 * (number(model.get("every")) ?? 10) + 10;
    if (stale && !root.classList.contains("aiki-stale")) kept.ask({ type: "look" });
    root.classList.toggle("aiki-stale", stale);
    say(when, `${stale ? "last looked" : "looked"} ${age(seconds)}`);
  }

  function show() {
    const board = dict(model.get("board"));
    root.dataset.state = known(board.status);
    root.classList.toggle("aiki-watched", Boolean(board.watched));
    say(headline, words(board.headline));
    const spend = board.money ? dict(board.money) : null;
    money.hidden = spend === null;
    if (spend) {
      const cap = number(spend.day_usd);
      say(told, spent(spend));
      bar.hidden = !cap;
      const share = cap ? Math.min(1, (number(spend.usd) ?? 0) / cap) : 0;
      filled.style.width = `${(share * 100).toFixed(1)}%`;
      bar.dataset.full = share >= 0.8 ? "yes" : "no";
    }
    services.replaceChildren(...list(board.services).map((one) => row(dict(one))));
    changes.replaceChildren(...changed(board));
    again.disabled = false;
    aged();
  }

  again.addEventListener("click", () => {
    again.disabled = true;
    kept.ask({ type: "look" });
    setTimeout(() => (again.disabled = false), 5000);
  });
  const kept = parted(model, root, () => (again.hidden = true));
  const end = live(model, ["board"], show);
  const timer = setInterval(aged, 1000);
  model.send({ type: "opened" });
  return () => {
    kept();
    clearInterval(timer);
    end();
    model.send({ type: "closed" });
  };
}

function changed(board) {
  if (!board.watched) {
    return ["No history: ", el("code", {}, "aiki health daemon"), " keeps one."];
  }
  const found = list(board.changes).map(dict);
  if (!found.length) return ["Nothing changed in the last hour."];
  const line = (one) =>
    `${clock(number(one.at) ?? 0)} ${words(one.title)}: ${words(one.from)} → ${words(one.to)}`;
  return [el("ul", {}, ...found.map((one) => el("li", {}, line(one))))];
}

export default { render };
