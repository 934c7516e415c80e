// The live card under an answer. A plain ES module: no bundler, nothing fetched.
//
// It says the same as aiki_kernel/display/facts.py in the same words; a test compares the
// two. All text reaches the page through textContent: memories and model names are other
// people's text and must never be markup.

import { ago, dict, dollars, duration, el, frame, list, live as follow, milliseconds, moment, number, parted, place, said, say, speed, tokens, words } from "./aiki.js";

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
const BEAT_MS = 250;
const QUIET_MS = 5000; // the least time between two things that a screen reader says
export const STALE = "An earlier cell was run again after this answer: run this cell to renew it";
export const KEPT = "Kept by # keep: running the cell again shows this answer and costs nothing";

// An answer that was cut is reckoned in the books, after this was written.
export function price(cost, cut = false) {
  if (!cost || typeof cost !== "object") return "";
  const usd = number(cost.usd);
  if (usd === null) return cut ? "" : "price unknown";
  if (usd === 0) return "free";
  return dollars(usd, cost.estimated ? "~" : "");
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
  return `${words(name)} ${milliseconds(ms)}`;
}

// The stage that is running now, read from which figures are still missing.
function running(summary) {
  const known = dict(summary.latency_s);
  if (summary.finish_reason) return "remember";
  if (number(known.first_token) !== null) return "generate";
  return number(known.recall) !== null ? "first_token" : "recall";
}

export function verdict(state, summary) {
  const reason = summary.finish_reason;
  if (state === "interrupted" || reason === "interrupted" || reason === "cancelled") {
    return "stopped";
  }
  if (state === "error" || reason === "error") return "failed";
  return reason === "length" ? "cut at the token limit" : "";
}

// Which model and why, in the router's own words.
export function route(summary) {
  const found = dict(summary.route);
  const [reason, router] = [words(found.reason).trim(), words(found.router).trim()];
  const own = !router || router === "fixed" || reason.startsWith(`${router}:`);
  return reason && (own ? reason : `${router}: ${reason}`);
}

// Why it is as it is, a sentence each: the model, the search, and what the marks mean.
export function reasons(summary) {
  const [model, search] = [route(summary), words(dict(summary.backend).reason).trim()];
  const marks = [summary.stale && STALE, summary.kept && KEPT];
  return [model && `Model: ${model}`, search && `Search: ${search}`, ...marks].filter(Boolean);
}

// The notes of an answer; with a consultation the first is what was paid for, unless the answer is
// a kept one: that has notes of its own.
export function noted(summary) {
  const notes = list(summary.notes).map((note) => words(note).trim()).filter(Boolean);
  const consulted = dict(summary.consult).insight && notes[0]?.startsWith("Consulted ");
  return { insight: consulted ? notes.shift() : undefined, notes };
}

function memory(hit) {
  const role = words(hit.role) || words(hit.kind);
  const who = { user: "you", assistant: "answer" }[role] ?? role;
  const trust = { import: "imported", sensor: "sensor", tool: "tool" }[words(hit.trust)];
  const where = origin(dict(hit.provenance));
  const when = words(hit.created_at);
  const unused = hit.used === false;
  const about = [
    typeof hit.score === "number" && el("span", { class: "aiki-score" }, hit.score.toFixed(2)),
    (role || trust) && el("span", {}, [who, trust].filter(Boolean).join(", ")),
    when && el("time", { title: moment(when), dateTime: when }, ago(when)),
    where && said(where),
    unused && el("span", {}, "found, not used"),
  ];
  return el(
    "li",
    { class: unused ? "aiki-memory aiki-unused" : "aiki-memory" },
    el("div", { class: "aiki-memory-text" }, said(hit.text)),
    el("div", { class: "aiki-about" }, dotted(about.filter(Boolean))),
  );
}

function dotted(nodes) {
  return nodes.flatMap((node, i) => (i ? [el("span", { class: "aiki-dot" }, " · "), node] : [node]));
}

// While it streams nothing may move: the line of facts has one height, the five stages are all
// there from the first moment, and a note waits in that line for its place at the end.
function render({ model, el: host }) {
  const card = frame(host, "card", "About this answer");
  const facts = el("span", { class: "aiki-facts" });
  const status = el("span", { class: "aiki-status" });
  const ears = el("span", { class: "aiki-ears", role: "status" });
  const stop = el(
    "button",
    { class: "aiki-button aiki-danger aiki-stop", type: "button", "aria-label": "Stop this answer" },
    "Stop",
  );
  const line = el("div", { class: "aiki-headline" }, facts);
  const bar = el("div", { class: "aiki-bar", role: "img" });
  const legend = el("div", { class: "aiki-legend" });
  const foldLabel = el("summary");
  const why = el("div", { class: "aiki-why" });
  const memories = el("ul");
  const fold = el("details", { class: "aiki-recalled" }, foldLabel, why, memories);
  const notes = el("div", { class: "aiki-notes" });
  card.append(el("div", { class: "aiki-top" }, stop, status, line), bar, legend, fold, notes, ears);

  let stage = "";
  let since = performance.now();
  let shownHits = "";
  let spoken = since;

  // A stage keeps its nodes while it lasts: rebuilt nodes would lose tooltip and animation.
  const shown = new Map();
  function timed({ stage: name, label }) {
    if (!shown.has(name)) {
      const time = el("span", { class: "aiki-time" });
      const piece = el("i", { class: `aiki-${name}` });
      const key = el("span", { class: `aiki-key aiki-${name}` }, el("span", {}, label, " "), time);
      shown.set(name, { piece, key, time });
    }
    return shown.get(name);
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
    const told = parts.map((part) => `${part.label} ${duration(part.seconds)}`);
    const nodes = parts.map(timed);
    let begin = 0;
    nodes.forEach(({ piece, time }, i) => {
      // Moved by a transform: a part that grows lays nothing out anew.
      const share = total > 0 ? parts[i].seconds / total : 0;
      piece.style.transform = `translateX(${begin * 100}%) scaleX(${Math.max(share, 0.003)})`;
      begin += share;
      piece.title = told[i];
      say(time, duration(parts[i].seconds));
    });
    place(bar, nodes.map(({ piece }) => piece));
    const keys = live ? STAGES.map(([name, label]) => timed({ stage: name, label })) : nodes;
    for (const { time } of keys) if (!time.textContent) say(time, "–");
    place(legend, keys.map(({ key }) => key));
    bar.setAttribute("aria-label", `Time: ${told.join(", ") || "not known"}`);
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
    const { insight, notes: told } = noted(summary);
    const head = [
      named(summary),
      persona(summary),
      hops(summary.hops),
      engine(summary),
      tokens(dict(summary.usage)),
      price(summary.cost, ["stopped", "failed"].includes(verdict(state, summary))),
      saved(dict(summary.compared), dict(summary.cost)),
      total,
      speed(summary.tokens_per_second),
    ];
    const parts = head.map((text, i) => text && said(text, i ? "" : "aiki-model")).filter(Boolean);
    facts.replaceChildren(...dotted([...parts, ...marked(summary, live ? "" : verdict(state, summary))]));
    if (live && told.length) {
      facts.append(el("span", { class: "aiki-latest", title: told.at(-1) }, ` · ${told.at(-1)}`));
    }
    say(status, live ? DOING[stage] : "");
    status.hidden = !live;
    speak(live ? DOING[stage] : verdict(state, summary) || "answered", !live);

    if (!live && document.activeElement === stop) foldLabel.focus();
    stop.hidden = !live;
    if (!live) release();

    const hits = list(summary.hits);
    const count = hits.length + (number(summary.hits_left_out) ?? 0);
    const known = number(dict(summary.latency_s).recall) !== null || count > 0;
    const because = reasons(summary);
    fold.classList.toggle("aiki-none", count === 0 && !because.length);
    if (!count && !because.length) fold.open = false;
    const by = searched(summary.backend);
    const found = count ? `${count} memor${count === 1 ? "y" : "ies"}` : "no memories";
    say(foldLabel, (live && !known ? "memories" : found) + (by && count ? ` · ${by}` : ""));
    why.hidden = !because.length;
    why.replaceChildren(...because.map((reason) => el("div", {}, said(reason))));
    const key = JSON.stringify([hits, count]);
    if (key !== shownHits) {
      shownHits = key;
      memories.replaceChildren(...hits.map((hit) => memory(dict(hit))));
      const more = count - hits.length;
      if (more > 0) memories.append(el("li", { class: "aiki-about" }, `and ${more} more`));
    }

    notes.hidden = live;
    notes.replaceChildren(
      ...(insight ? [el("div", { class: "aiki-note aiki-insight" }, said(insight))] : []),
      ...told.map((note) => el("div", { class: "aiki-note" }, said(note))),
    );
  }

  // To a screen reader: what has changed, and not more than a word in five seconds.
  function speak(text, atOnce) {
    const now = performance.now();
    if (text === ears.textContent || (!atOnce && now - spoken < QUIET_MS)) return;
    spoken = now;
    say(ears, text);
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
    kept.ask({ type: "stop" });
    waiting = setTimeout(release, 3000); // nothing heard: let the reader press again
  });
  fold.addEventListener("click", (event) => {
    if (fold.classList.contains("aiki-none")) event.preventDefault();
  });

  const kept = parted(model, card, () => {
    clearInterval(timer);
    if (model.get("state") !== "streaming") return;
    card.dataset.state = "error"; // nothing more will come
    stop.hidden = status.hidden = true;
  });
  const end = follow(model, ["summary", "state"], paint);
  let beats = 0;
  const timer = setInterval(() => {
    if (model.get("state") !== "streaming") return;
    paint();
    beats += 1;
    if (beats % (QUIET_MS / BEAT_MS) === 0) kept.ask({ type: "here" }); // a kernel may die
  }, BEAT_MS);
  return () => {
    kept();
    clearInterval(timer);
    clearTimeout(waiting);
    end();
  };
}

// How it ended, whether it is out of date, whether it is kept: a word and a light each.
function marked(summary, label) {
  const marks = [
    [label, label === "failed" ? "down" : "degraded", ""],
    [summary.stale && "stale", "degraded", STALE],
    [summary.kept && "kept", "ok", KEPT],
  ];
  return marks
    .filter(([word]) => word)
    .map(([word, state, title]) =>
      el("span", { class: `aiki-said aiki-${state}`, title }, word, " ", el("i", { class: "aiki-light" })),
    );
}

export default { render };
