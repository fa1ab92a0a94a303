// From answers of the service to elements. Text is only ever set as text: whatever a title holds, it is read, not run.

export function element(tag, options = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(options)) {
    if (name === "text") made.textContent = value;
    else if (name === "class") made.className = value;
    else if (name === "click") made.addEventListener("click", value);
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

const heard = (text) => element("span", { class: "heard", text });
const named = (item) => item.title || item.item_id;

export function percent(share) {
  const value = share * 100;
  if (value > 0 && value < 0.1) return "< 0.1 %";
  return `${value.toFixed(value < 10 ? 1 : 0)} %`;
}

export function found(item, add) {
  const price = item.price === null ? "" : item.price.toFixed(2);
  const about = [item.brand, item.category, price].filter(Boolean).join(" · ");
  const button = element(
    "button", { type: "button", class: "result", click: () => add(item) },
    element("span", { class: "title", text: named(item) }), heard(", add to the history"),
    element("span", { class: "quiet", text: about || item.item_id }),
  );
  return element("li", {}, button);
}

export function chip(item, place, unknown, remove) {
  const name = named(item);
  const made = element("li", { class: unknown ? "chip unknown" : "chip" }, element("span", { text: name }));
  made.dataset.item = item.item_id;
  if (unknown) made.append(element("span", { class: "badge", text: "unknown" }));
  made.append(element("button", { type: "button", "aria-label": `Remove ${name}`, text: "×", click: () => remove(place) }));
  return made;
}

// How far the reasoning moved an item: from its place without to its place with.
export function move(before, now) {
  const by = before - now;
  if (by === 0) return element("span", { class: "move", title: "same place without reasoning" }, sign("="), heard("same place"));
  const [way, arrow, word] = by > 0 ? ["up", "▲", "up"] : ["down", "▼", "down"];
  const told = `place ${before} without reasoning`;
  return element(
    "span", { class: `move ${way}`, title: told }, sign(`${arrow} ${Math.abs(by)}`),
    heard(`${Math.abs(by)} ${word}, ${told}`),
  );
}

const sign = (text) => element("span", { "aria-hidden": "true", text });

export function ranked(item, place, moved, add) {
  const name = named(item);
  const made = element(
    "li", { class: "row" },
    element("span", { class: "place", text: place }),
    element("span", { class: "title", text: name }),
    moved ?? element("span"),
    element("span", { class: "score", text: percent(item.score) }),
    element("button", { type: "button", class: "add", "aria-label": `Add ${name} to the history`, text: "+", click: () => add(item) }),
  );
  return made;
}

// A row of the ranking without the reasoning, with where the item stands with it.
export function alone(item, place, now) {
  return element(
    "li", { class: "row" },
    element("span", { class: "place", text: place }),
    element("span", { class: "title", text: named(item) }),
    element("span", { class: "score", text: percent(item.score) }),
    line(`With reasoning: ${now}`),
  );
}

export const line = (text) => element("p", { class: "support", text });

const SHOWN = 3; // of what a place rests on; the rest is counted

export function support(items) {
  if (!items.length) return line("Rests on no single item of the history");
  const made = element("ul", { class: "support", "aria-label": "Rests on" });
  for (const one of items.slice(0, SHOWN)) {
    const bar = element("span", { class: "bar", "aria-hidden": "true" });
    bar.style.setProperty("--share", String(one.weight / items[0].weight));
    const times = element("span", { class: "times", text: `×${factor(one.weight)}` });
    made.append(element("li", {}, bar, times, element("span", { class: "name", title: named(one), text: named(one) })));
  }
  if (items.length > SHOWN) made.append(element("li", { text: `and ${items.length - SHOWN} more` }));
  return made;
}

// A weight is in nats of log-probability; people read better how many times likelier an item is.
function factor(nats) {
  const times = Math.exp(nats);
  if (times >= 1000) return "1000+";
  return times >= 10 ? times.toFixed(0) : times.toFixed(times < 1.1 ? 2 : 1);
}

export function pairs(rows) {
  return rows.flatMap(([term, text]) => [element("dt", { text: term }), element("dd", { text })]);
}
