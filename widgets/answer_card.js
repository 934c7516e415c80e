// The live card under an answer. A plain ES module: no bundler, nothing fetched.
//
// It says the same as aiki_kernel/display/facts.py in the same words; a test compares the
// two. All text reaches the page through textContent: memories and model names are other
// people's text and must never be markup.

const STAGES = [
  ["recall", "recall"],
  ["route", "route"],
  ["first_token", "first token"],
  ["generate", "generate"],
  ["remember", "remember"],
];
const DOING = {
  recall: "recalling",
  first_token: "thinking",
  generate: "writing",
  remember: "remembering",
};
const LEAST_USD = 1e-6;
const TIE = 1e-9; // halves go up, as in Python

const number = (v) => (typeof v === "number" && v >= 0 && v <= 1e15 ? v : null);
const list = (v) => (Array.isArray(v) ? v : []);
const dict = (v) => (v && typeof v === "object" && !Array.isArray(v) ? v : {});
const words = (v) => (v === null || v === undefined ? "" : String(v));
const whole = (v) => Math.floor(v + 0.5);
const grouped = (v) => Math.trunc(v).toLocaleString("en-US");

export function duration(s) {
  if (s < 0.001) return "<1 ms";
  if (s < 0.9995) return `${whole(s * 1000)} ms`;
  if (s < 59.95) return `${(s + TIE).toFixed(1)} s`;
  return `${Math.floor(whole(s) / 60)} min ${whole(s) % 60} s`;
}

export function tokens(usage) {
  const sides = [number(usage.input_tokens), number(usage.output_tokens)];
  if (sides.every((side) => side === null)) return "";
  const mark = usage.estimated ? "~" : "";
  const [given, made] = sides.map((v) => (v === null ? "?" : mark + grouped(v)));
  const cached = number(usage.cached_tokens);
  return `${given} → ${made} tokens${cached >= 1 ? ` (${grouped(cached)} cached)` : ""}`;
}

export function price(cost) {
  if (!cost || typeof cost !== "object") return "";
  const usd = number(cost.usd);
  if (usd === null) return "price unknown";
  if (usd === 0) return "free";
  return dollars(usd, cost.estimated ? "~" : "");
}

function dollars(usd, mark) {
  if (usd < LEAST_USD) return `${mark}<$0.000001`;
  const digits = Math.max(2, 1 - Math.floor(Math.log10(usd)));
  return `${mark}$${(usd * (1 + TIE)).toFixed(digits)}`;
}

// How many models failed before this one: a list of hops, or their count.
export function hops(found) {
  const count = Array.isArray(found) ? found.length : Math.trunc(number(found) ?? 0);
  return count ? `${count} hop${count === 1 ? "" : "s"}` : "";
}

// The estimate of what the smart tier's model would have cost more, or less.
export function saved(compared, cost) {
  const [could, was] = [number(compared.smart_only_usd), number(cost.usd)];
  if (could === null || was === null || Math.abs(could - was) < LEAST_USD) return "";
  return could > was
    ? `${dollars(could - was, "~")} saved`
    : `${dollars(was - could, "~")} over smart-only`;
}

export function speed(rate) {
  const r = number(rate);
  if (!r) return "";
  return r >= 9.95 ? `${whole(r)} tok/s` : `${(r + TIE).toFixed(1)} tok/s`;
}

export function segments(latency) {
  const s = Object.fromEntries(STAGES.map(([stage]) => [stage, number(latency[stage])]));
  if (s.generate !== null && s.first_token !== null) {
    s.generate = Math.max(0, s.generate - s.first_token);
  }
  return STAGES.filter(([stage]) => s[stage] !== null).map(([stage, label]) => ({
    stage,
    label,
    seconds: s[stage],
  }));
}

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

export function named(summary) {
  const [model, provider] = [words(summary.model), words(summary.provider)];
  if (!model || !provider || model === provider || model.startsWith(`${provider}/`)) return model;
  return `${provider}/${model}`;
}

// Who answered, as one addresses them; "default" goes without saying.
export function persona(summary) {
  const name = words(summary.persona).trim();
  return name && name !== "default" ? `@${name}` : "";
}

// What computed it on this machine: "mojo Q4_1". Remote models tell nothing.
export function engine(summary) {
  return [words(summary.engine), words(summary.quantisation)].filter(Boolean).join(" ");
}

export function origin(provenance) {
  for (const key of ["notebook", "source", "import"]) {
    const path = words(provenance[key]).trim();
    if (path) return path.split(/[\\/]/).filter(Boolean).pop() ?? path;
  }
  const session = words(provenance.session_id).trim();
  return session ? `session ${session.slice(0, 8)}` : "";
}

// Who searched the memory and how long: a search is too short for duration().
export function searched(backend) {
  const { name, ms: given } = dict(backend);
  const ms = number(given);
  if (!words(name) || ms === null) return words(name);
  if (ms < 9.95) return `${words(name)} ${(ms + TIE).toFixed(ms < 0.995 ? 2 : 1)} ms`;
  return `${words(name)} ${whole(ms)} ms`;
}

function element(tag, className, text = "") {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text) node.textContent = text;
  return node;
}

// Put `nodes` into `parent` unless they are there already.
function place(parent, nodes) {
  const same =
    parent.children.length === nodes.length && nodes.every((n, i) => parent.children[i] === n);
  if (!same) parent.replaceChildren(...nodes);
}

// The stage that is running now, read from which figures are still missing.
function running(summary) {
  const known = dict(summary.latency_s);
  if (summary.finish_reason) return "remember";
  if (number(known.first_token) !== null) return "generate";
  return number(known.recall) !== null ? "first_token" : "recall";
}

function verdict(state, summary) {
  const reason = summary.finish_reason;
  if (state === "interrupted" || reason === "interrupted" || reason === "cancelled") {
    return "stopped";
  }
  if (state === "error" || reason === "error") return "failed";
  return reason === "length" ? "cut at the token limit" : "";
}

function memory(hit) {
  const item = element("li", "aiki-memory");
  const text = element("div", "aiki-memory-text");
  text.append(element("bdi", "", words(hit.text)));
  const about = element("div", "aiki-about");
  const role = words(hit.role) || words(hit.kind);
  const said = { user: "you", assistant: "answer" }[role] ?? role;
  const trust = { import: "imported", sensor: "sensor", tool: "tool" }[words(hit.trust)];
  const parts = [
    typeof hit.score === "number" ? element("span", "aiki-score", hit.score.toFixed(2)) : null,
    role || trust ? element("span", "", [said, trust].filter(Boolean).join(", ")) : null,
  ];
  if (hit.created_at) {
    const when = element("time", "", ago(hit.created_at));
    when.title = words(hit.created_at);
    when.dateTime = words(hit.created_at);
    parts.push(when);
  }
  const where = origin(dict(hit.provenance));
  if (where) parts.push(element("bdi", "", where));
  item.classList.toggle("aiki-unused", hit.used === false);
  if (hit.used === false) parts.push(element("span", "", "found, not used"));
  about.append(...dotted(parts.filter(Boolean)));
  item.append(text, about);
  return item;
}

function dotted(nodes) {
  return nodes.flatMap((node, i) => (i ? [element("span", "aiki-dot", " · "), node] : [node]));
}

function render({ model, el }) {
  const card = element("div", "aiki-card");
  card.setAttribute("role", "group");
  card.setAttribute("aria-label", "About this answer");
  // Without this, JupyterLab takes Enter for itself before the button sees it.
  card.dataset.lmSuppressShortcuts = "true";

  const row = element("div", "aiki-row");
  const facts = element("span", "aiki-facts");
  const status = element("span", "aiki-status");
  status.setAttribute("role", "status");
  const stop = element("button", "aiki-stop", "Stop");
  stop.type = "button";
  stop.setAttribute("aria-label", "Stop this answer");
  row.append(stop, facts, status);

  const bar = element("div", "aiki-bar");
  bar.setAttribute("role", "img");
  const legend = element("div", "aiki-legend");
  const fold = element("details", "aiki-memories");
  const foldLabel = element("summary", "");
  const memories = element("ul", "");
  fold.append(foldLabel, memories);
  const notes = element("div", "aiki-notes");
  card.append(row, bar, legend, fold, notes);
  el.append(card);

  let stage = "";
  let since = performance.now();
  let shownHits = "";

  // A stage keeps its nodes while it lasts: rebuilt nodes would lose tooltip and animation.
  const shown = new Map();
  function timed(part) {
    if (!shown.has(part.stage)) {
      const piece = element("i", `aiki-${part.stage}`);
      const key = element("span", `aiki-key aiki-${part.stage}`);
      key.append(element("span", ""));
      shown.set(part.stage, { piece, key });
    }
    return shown.get(part.stage);
  }

  function paintTime(summary, live) {
    const latency = { ...dict(summary.latency_s) };
    // Until the first token, what has passed of generation is the wait for it.
    if (live && number(latency.first_token) === null) delete latency.generate;
    const parts = segments(latency);
    if (live) {
      const seconds = (performance.now() - since) / 1000;
      const part = parts.find((p) => p.stage === stage);
      if (part) part.seconds = Math.max(part.seconds, seconds);
      else parts.push({ stage, label: STAGES.find(([s]) => s === stage)[1], seconds });
    }
    const total = parts.reduce((sum, part) => sum + part.seconds, 0);
    const said = parts.map((part) => `${part.label} ${duration(part.seconds)}`);
    const nodes = parts.map(timed);
    nodes.forEach(({ piece, key }, i) => {
      piece.style.width = `${total > 0 ? (parts[i].seconds / total) * 100 : 0}%`;
      piece.title = said[i];
      key.firstChild.textContent = said[i];
    });
    place(bar, nodes.map(({ piece }) => piece));
    place(legend, nodes.map(({ key }) => key));
    bar.setAttribute("aria-label", said.join(", ") || "no timing");
    return parts.length ? duration(total) : "";
  }

  function paint() {
    const summary = dict(model.get("summary"));
    const state = model.get("state");
    const live = state === "streaming";
    if (live && running(summary) !== stage) {
      stage = running(summary);
      since = performance.now();
    }
    card.dataset.state = state;

    const total = paintTime(summary, live);
    const head = [
      named(summary),
      persona(summary),
      hops(summary.hops),
      engine(summary),
      tokens(dict(summary.usage)),
      price(summary.cost),
      saved(dict(summary.compared), dict(summary.cost)),
      total,
      speed(summary.tokens_per_second),
    ];
    facts.replaceChildren(
      ...dotted(
        head
          .map((text, i) => text && element("bdi", i === 0 ? "aiki-model" : "", text))
          .filter(Boolean),
      ),
    );

    const said = live ? DOING[stage] : verdict(state, summary);
    const marks = said ? [element("span", live ? "aiki-doing" : "aiki-said", said)] : [];
    if (summary.stale) {
      marks.push(element("span", "aiki-said aiki-stale", "stale"));
      marks.at(-1).title = "An earlier cell was run again after this answer";
    }
    // Written only when it changes: a screen reader speaks every change.
    if (status.textContent !== marks.map((mark) => mark.textContent).join("")) {
      status.replaceChildren(...marks);
    }

    if (!live && document.activeElement === stop) foldLabel.focus();
    stop.hidden = !live;
    if (!live) release();

    const hits = list(summary.hits);
    const count = hits.length + (number(summary.hits_left_out) ?? 0);
    const known = number(dict(summary.latency_s).recall) !== null || count > 0;
    fold.classList.toggle("aiki-empty", count === 0);
    if (!count) fold.open = false;
    const by = searched(summary.backend);
    foldLabel.textContent =
      (count === 0
        ? live && !known
          ? "memories"
          : "no memories"
        : `${count} memor${count === 1 ? "y" : "ies"}`) + (by && count ? ` · ${by}` : "");
    foldLabel.title = words(dict(summary.backend).reason);
    const key = JSON.stringify([hits, count]);
    if (key !== shownHits) {
      shownHits = key;
      memories.replaceChildren(...hits.map((hit) => memory(dict(hit))));
      if (count > hits.length) {
        memories.append(element("li", "aiki-about", `and ${count - hits.length} more`));
      }
    }

    notes.replaceChildren(
      ...list(summary.notes)
        .filter(Boolean)
        .map((note) => element("div", "aiki-note", words(note))),
    );
  }

  let waiting = 0;
  function release() {
    clearTimeout(waiting);
    stop.disabled = false;
    stop.textContent = "Stop";
  }
  stop.addEventListener("click", () => {
    stop.disabled = true;
    stop.textContent = "Stopping…";
    model.send({ type: "stop" });
    waiting = setTimeout(release, 3000); // nothing heard: let the reader press again
  });
  fold.addEventListener("click", (event) => {
    if (fold.classList.contains("aiki-empty")) event.preventDefault();
  });

  paint();
  model.on("change:summary", paint);
  model.on("change:state", paint);
  const clock = setInterval(() => {
    if (model.get("state") === "streaming") paint();
  }, 250);
  return () => {
    clearInterval(clock);
    clearTimeout(waiting);
    model.off("change:summary", paint);
    model.off("change:state", paint);
  };
}

export default { render };
