// The live health board. A plain ES module: no bundler, nothing fetched.
//
// It shows what aiki_kernel/display/board_facts.py made, in the words that static_board.py uses.
// It tells the kernel when it is seen and when not: nobody looks for a board that is closed. All
// text reaches the page through textContent.

const STATES = ["ok", "degraded", "down", "unknown"];
const [WIDTH, HEIGHT] = [96, 18];

const list = (v) => (Array.isArray(v) ? v : []);
const dict = (v) => (v && typeof v === "object" && !Array.isArray(v) ? v : {});
const words = (v) => (v === null || v === undefined ? "" : String(v));
const number = (v) => (typeof v === "number" && Number.isFinite(v) ? v : null);
const known = (v) => (STATES.includes(v) ? v : "unknown");

export function path(line, width = WIDTH, height = HEIGHT) {
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

export function age(seconds) {
  if (seconds < 2) return "now";
  if (seconds < 120) return `${Math.floor(seconds)} s ago`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min ago`;
  return `${Math.floor(seconds / 3600)} h ago`;
}

export function spent(money) {
  const [usd, cap] = [number(money.usd) ?? 0, number(money.day_usd)];
  const said = usd === 0 ? "$0" : usd >= 0.995 ? `$${usd.toFixed(2)}` : `$${usd.toFixed(4)}`;
  return cap === null ? `${said} today, no budget` : `${said} of today's $${cap}`;
}

export function clock(wall) {
  const at = new Date(wall * 1000);
  const two = (n) => String(n).padStart(2, "0");
  return `${two(at.getHours())}:${two(at.getMinutes())}`;
}

function element(tag, name, text) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text !== undefined) made.textContent = text;
  return made;
}

function spark(line) {
  const NS = "http://www.w3.org/2000/svg";
  const made = document.createElementNS(NS, "svg");
  const drawn = path(line);
  made.setAttribute("class", "aiki-spark");
  made.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  if (!drawn) {
    made.setAttribute("aria-hidden", "true");
    return made;
  }
  made.setAttribute("role", "img");
  made.setAttribute("aria-label", "the last hour");
  const stroke = document.createElementNS(NS, "path");
  stroke.setAttribute("d", drawn);
  made.append(stroke);
  return made;
}

function row(service) {
  const state = known(service.state);
  const made = element("li", `aiki-service aiki-${state}`);
  const title = element("span", "aiki-title");
  title.append(element("i", "aiki-light"), element("bdi", "", words(service.title)));
  made.append(
    title,
    element("span", "aiki-state", state),
    element("span", "aiki-figure", words(service.figure)),
    spark(list(service.line)),
    element("bdi", "aiki-reason", words(service.reason)),
  );
  return made;
}

function render({ model, el }) {
  const root = element("section", "aiki-board");
  root.setAttribute("aria-label", "Health");
  const head = element("div", "aiki-head");
  const light = element("i", "aiki-light");
  const headline = element("strong", "");
  headline.setAttribute("role", "status");
  const when = element("span", "aiki-when");
  const again = element("button", "aiki-again", "Look now");
  again.type = "button";
  head.append(light, headline, when, again);
  const money = element("div", "aiki-money");
  const bar = element("div", "aiki-budget");
  const filled = element("i", "");
  bar.append(filled);
  const said = element("span", "");
  money.append(said, bar);
  const services = element("ul", "aiki-services");
  const changes = element("div", "aiki-changes");
  root.append(head, money, services, changes);
  el.replaceChildren(root);

  function aged() {
    const board = dict(model.get("board"));
    const seconds = Math.max(0, Date.now() / 1000 - (number(board.wall_s) ?? 0));
    const stale = seconds > 4 * (number(model.get("every")) ?? 10) + 10;
    root.classList.toggle("aiki-stale", stale);
    when.textContent = `${stale ? "last looked" : "looked"} ${age(seconds)}`;
  }

  function show() {
    const board = dict(model.get("board"));
    root.dataset.state = known(board.status);
    root.classList.toggle("aiki-watched", Boolean(board.watched));
    // Written only when it changes: a screen reader speaks every change.
    if (headline.textContent !== words(board.headline)) {
      headline.textContent = words(board.headline);
    }
    const spend = board.money ? dict(board.money) : null;
    money.hidden = spend === null;
    if (spend) {
      const cap = number(spend.day_usd);
      said.textContent = spent(spend);
      bar.hidden = !cap;
      const share = cap ? Math.min(1, (number(spend.usd) ?? 0) / cap) : 0;
      filled.style.width = `${(share * 100).toFixed(1)}%`;
      bar.dataset.full = share >= 0.8 ? "yes" : "no";
    }
    services.replaceChildren(...list(board.services).map((one) => row(dict(one))));
    const found = list(board.changes).map(dict);
    if (!board.watched) {
      changes.replaceChildren("No history: ", element("code", "", "aiki health daemon"), " keeps one.");
    } else if (!found.length) {
      changes.replaceChildren("Nothing changed in the last hour.");
    } else {
      const items = found.map((one) =>
        element(
          "li",
          "",
          `${clock(number(one.at) ?? 0)} ${words(one.title)}: ${words(one.from)} → ${words(one.to)}`,
        ),
      );
      const told = element("ul", "");
      told.append(...items);
      changes.replaceChildren(told);
    }
    again.disabled = false;
    aged();
  }

  again.addEventListener("click", () => {
    again.disabled = true;
    model.send({ type: "look" });
    setTimeout(() => (again.disabled = false), 5000);
  });
  model.on("change:board", show);
  show();
  const timer = setInterval(aged, 1000);
  model.send({ type: "opened" });
  return () => {
    clearInterval(timer);
    model.off("change:board", show);
    model.send({ type: "closed" });
  };
}

export default { render };
