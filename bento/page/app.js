// The page: what is in the history, what is asked when it changes, what is said in empty and unknown states.

import * as api from "./api.js";
import * as draw from "./draw.js";

const KEPT = "rporec.history";
const PAUSE = 200; // milliseconds without a key before a search is sent
const at = (id) => document.getElementById(id);
const SOURCES = {
  stored: ["stored", "Written before this request and kept for this history."],
  live: ["live", "Written just now, while the request waited."],
  none: ["none", "None was stored for this history and none could be written in time: ranked from the history alone."],
};

let history = kept(); // [{item_id, title}], oldest first
let answer = null;
let known = null; // what GET /model said
let asking = new AbortController();
let searching = new AbortController();
let timer = 0;

function kept() {
  try {
    const found = JSON.parse(sessionStorage.getItem(KEPT) ?? "[]");
    return found.filter((one) => typeof one.item_id === "string" && typeof one.title === "string");
  } catch {
    return []; // storage is closed, or holds something else
  }
}

function keep() {
  try {
    sessionStorage.setItem(KEPT, JSON.stringify(history));
  } catch {
    // The history lives as long as the page, then.
  }
}

// What failed and has not gone well since: a ranking that works does not hide a search that does not.
const troubles = new Map();

function trouble(what, error) {
  if (error.name === "AbortError") return;
  if (!(error instanceof api.Refused)) console.error(error);
  troubles.set(what, error instanceof api.Refused ? error.message : "The page itself failed; reload it.");
  showTroubles();
}

function well(what) {
  if (troubles.delete(what)) showTroubles();
}

function showTroubles() {
  at("trouble-words").textContent = [...new Set(troubles.values())].join(" ");
  at("trouble").hidden = !troubles.size;
}

// --- the catalogue

async function search() {
  clearTimeout(timer);
  searching.abort();
  searching = new AbortController();
  const words = at("words").value.trim();
  try {
    const { items } = await api.search(words, searching.signal);
    at("results").replaceChildren(...items.map((item) => draw.found(item, add)));
    at("found").textContent = items.length ? told(items.length, words) : `Nothing holds all of “${words}”. Try fewer words.`;
    well("search");
  } catch (error) {
    trouble("search", error);
  }
}

function told(count, words) {
  if (!words) return "The most bought items. Click to add.";
  return count === 1 ? "1 item. Click to add." : `${count === 30 ? "The first 30" : count} items. Click to add.`;
}

// --- the history

function add(item) {
  const most = known?.settings?.max_history;
  if (most && history.length >= most) {
    at("history-note").textContent = `This model takes at most ${most} items: remove one first.`;
    return;
  }
  history = [...history, { item_id: item.item_id, title: item.title }];
  changed();
}

function remove(place) {
  history = history.filter((_, index) => index !== place);
  changed();
  // The pressed button is gone: the keyboard goes on at the next item.
  const buttons = at("history").querySelectorAll("button");
  (buttons[Math.min(place, buttons.length - 1)] ?? at("words")).focus();
}

function changed() {
  keep();
  showHistory();
  ask();
}

function showHistory() {
  const unknown = new Set(answer?.unknown_ids ?? []);
  const chips = history.map((item, place) => draw.chip(item, place, unknown.has(item.item_id), remove));
  at("history").replaceChildren(...chips);
  at("clear").hidden = !history.length;
  at("history-note").textContent = historyNote(unknown);
}

function historyNote(unknown) {
  if (!history.length) return "Empty. Add what somebody bought, the oldest first.";
  const lost = history.filter((item) => unknown.has(item.item_id)).length;
  if (!lost) return "Oldest first.";
  return `Oldest first. ${lost === 1 ? "One item is" : `${lost} items are`} not in this model's catalogue and passed over.`;
}

// --- the answer

async function ask() {
  asking.abort();
  asking = new AbortController();
  const { signal } = asking;
  at("ranking").setAttribute("aria-busy", "true");
  try {
    answer = await api.recommend(history.map((item) => item.item_id), at("fresh").checked, signal);
    well("ranking");
    show();
  } catch (error) {
    if (error.name !== "AbortError") showNothing();
    trouble("ranking", error);
  } finally {
    if (!signal.aborted) at("ranking").removeAttribute("aria-busy");
  }
}

function show() {
  const focused = at("ranking").contains(document.activeElement) && document.activeElement.matches(".add");
  markUnknown();
  showReasoning();
  showRanking();
  if (focused) at("ranking").focus(); // the pressed button was drawn anew
  if (known && answer.model.package_hash !== known.package_hash) askModel();
}

// Rather nothing than the ranking of another history.
function showNothing() {
  answer = null;
  for (const id of ["with", "without", "reasoning"]) at(id).replaceChildren();
  at("source").hidden = true;
  at("compare").disabled = true;
  at("reasoning-note").textContent = "";
  at("ranking-note").textContent = "There is no ranking of this history now.";
}

function markUnknown() {
  const held = [...at("history").children].findIndex((one) => one.contains(document.activeElement));
  showHistory();
  at("history").children[held]?.querySelector("button").focus();
}

function showReasoning() {
  const popular = answer.ranking === "popularity";
  const [name, meaning] = SOURCES[answer.reasoning_source];
  at("source").hidden = popular;
  at("source").textContent = name;
  at("source").className = `badge ${name}`;
  at("reasoning-note").textContent = popular ? "There is nothing to reason about yet." : meaning;
  const rows = [["Thought", answer.thought], ["Guess at the next item", answer.answer]];
  at("reasoning").replaceChildren(...draw.pairs(rows.filter(([, text]) => text)));
}

function showRanking() {
  const { items, without_reasoning: alone } = answer;
  const reasoned = answer.reasoning_source !== "none" && Array.isArray(alone);
  const comparing = reasoned && at("compare").checked;
  at("compare").disabled = !reasoned;
  at("with-head").hidden = !comparing;
  at("without-side").hidden = !comparing;
  at("lists").classList.toggle("two", comparing);
  at("ranking-note").textContent = rankingNote(reasoned, comparing);
  at("with").replaceChildren(...items.map((item, index) => {
    const moved = reasoned ? draw.move(item.rank_without_reasoning, index + 1) : null;
    const row = draw.ranked(item, index + 1, moved, add);
    // Side by side both lists say the same of each item, and stay short enough to be compared.
    if (comparing) row.append(draw.line(`Without reasoning: place ${item.rank_without_reasoning}`));
    else if (item.rests_on) row.append(draw.support(item.rests_on));
    lightUp(row, item);
    return row;
  }));
  const places = new Map(items.map((item, index) => [item.item_id, index + 1]));
  at("without").replaceChildren(...(comparing ? alone : []).map((item, index) => {
    const now = places.get(item.item_id);
    return draw.alone(item, index + 1, now ? `place ${now}` : `below place ${items.length}`);
  }));
}

function rankingNote(reasoned, comparing) {
  if (!answer.items.length) return "No item is left to show.";
  if (answer.ranking === "popularity") {
    const why = history.length ? "Nothing of this history is known to the model" : "No history yet";
    return `${why}: the most bought items, with their share of all purchases.`;
  }
  return [
    "Percent: how likely the item comes next.",
    comparing ? "" : "×: so many times likelier by that item of the history.",
    reasoned ? "Arrows: places moved by the reasoning." : "",
  ].filter(Boolean).join(" ");
}

// Whoever looks at a ranked item sees in the history what it rests on.
function lightUp(row, item) {
  const ids = new Set((item.rests_on ?? []).map((one) => one.item_id));
  const light = (on) => {
    for (const one of at("history").children) one.classList.toggle("lit", on && ids.has(one.dataset.item));
  };
  for (const [name, on] of [["mouseenter", true], ["mouseleave", false], ["focusin", true], ["focusout", false]]) {
    row.addEventListener(name, () => light(on));
  }
}

// --- the model

async function askModel() {
  try {
    known = await api.model();
    well("model");
  } catch (error) {
    at("version").textContent = "Model unknown";
    trouble("model", error);
    return;
  }
  const name = known.version === null ? `Package ${known.package_hash.slice(0, 8)}` : `Version ${known.version}`;
  at("version").textContent = known.stale ? `${name}, data ${known.data_age_days} days old` : name;
  at("version").classList.toggle("stale", known.stale === true);
  const rows = [
    ["Model", known.name], ["Verdict", known.verdict], ["Items", known.items],
    ["Data up to", known.lineage.as_of], ["Age of the data", known.data_age_days === null ? "" : `${known.data_age_days} days`],
    ["Package", known.package_hash], ["Refused last", known.refused ? "a newer version, see the API's /model" : ""],
    ["Trouble", known.trouble],
  ];
  at("about").replaceChildren(...draw.pairs(rows.filter(([, text]) => text)));
}

at("words").addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(search, PAUSE);
});
at("words").addEventListener("keydown", (event) => {
  if (event.key === "Enter") search();
});
at("clear").addEventListener("click", () => {
  history = [];
  changed();
  at("words").focus();
});
at("fresh").addEventListener("change", ask);
at("compare").addEventListener("change", showRanking);
at("again").addEventListener("click", () => {
  at("words").focus(); // the button goes when all is well
  start();
});

function start() {
  askModel();
  search();
  ask();
}

showHistory();
start();
