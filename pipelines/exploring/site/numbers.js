// Totals and histograms of the places that are shown, and what was left out of the corpus.
"use strict";

const ROWS = 12, BINS = 24;
const STAGES = {
  find: "before choosing", choose: "while choosing", read: "while reading", judge: "while judging what was read",
};

/** Fills the panel of numbers for the places that are shown. */
function showNumbers(root, places, visible, summary, dateView) {
  const opened = new Set([...root.querySelectorAll("details[open]")].map((element) => element.dataset.name));
  const parts = [
    totals("Split", countCodes(places.columns.split, visible, places.words.split)),
    viewTotals(places, visible),
    histogram("Views of a place", steps(places.columns.views, visible, viewCount), viewsText),
  ];
  if (places.words.country.length) parts.push(totals("Country", countCodes(places.columns.country, visible, places.countries, "none")));
  parts.push(licenceTotals(places, visible));
  parts.push(histogram(`Date: ${VIEW_NAMES[dateView]}`, bins(places.columns[`${dateView}_date`], visible, ABSENT.i2), asDay));
  parts.push(histogram("Mean elevation", bins(places.columns.elevation, visible, ABSENT.i2), (metres) => `${count(Math.round(metres))} m`));
  parts.push(histogram("Cloud", bins(places.columns.cloud, visible, ABSENT_CLOUD), (halves) => `${Math.round(halves / 2)} %`));
  parts.push(credits(summary), about(summary));
  root.replaceChildren(...parts.filter(Boolean));
  for (const element of root.querySelectorAll("details")) element.open = opened.has(element.dataset.name);
}

function countCodes(codes, visible, words, none = null) {
  const totals = new Uint32Array(65536);
  for (let row = 0; row < codes.length; row++) if (visible[row]) totals[codes[row]]++;
  const rows = words.map((word, code) => [word || "not stated", totals[code]]);
  const rest = totals.subarray(words.length).reduce((sum, number) => sum + number, 0);
  if (none && rest) rows.push([none, rest]);
  return rows;
}

function viewTotals(places, visible) {
  const rows = VIEWS.map((view, bit) => {
    let number = 0;
    for (let row = 0; row < places.number; row++) if (visible[row] && (places.columns.views[row] >> bit) & 1) number++;
    return [VIEW_NAMES[view], number];
  });
  return totals("View", rows, false);
}

function licenceTotals(places, visible) {
  const sums = new Map();
  for (const view of VIEWS)
    for (const [word, number] of countCodes(places.columns[`${view}_licence`], visible, places.words.licence))
      sums.set(word, (sums.get(word) ?? 0) + number);
  return totals("Licence (first view of each kind)", [...sums]);
}

/** A table of names and numbers with bars, the greatest first, further rows on request. */
function totals(title, rows, sorted = true) {
  const kept = rows.filter(([, number]) => number > 0 || !sorted);
  if (sorted && title !== "Split") kept.sort((a, b) => b[1] - a[1]);
  const most = Math.max(1, ...kept.map(([, number]) => number));
  const line = ([name, number]) => make("tr", {},
    make("th", { scope: "row" }, make("bdi", { textContent: name })),
    make("td", { className: "bar" }, meter(number / most)), make("td", { textContent: count(number) }));
  const table = (some) => make("table", {}, make("tbody", {}, ...some.map(line)));
  const section = make("section", { className: "totals" }, make("h3", { textContent: title }), table(kept.slice(0, ROWS)));
  if (kept.length > ROWS) {
    const more = make("details", {}, make("summary", { textContent: `${kept.length - ROWS} more` }), table(kept.slice(ROWS)));
    more.dataset.name = title;
    section.append(more);
  }
  return section;
}

function meter(share) {
  const bar = make("span", { className: "meter" });
  bar.style.width = `${Math.max(0, share * 100).toFixed(1)}%`;
  return bar;
}

/** Whole numbers of a few values. */
function steps(values, visible, of) {
  const totals = [];
  for (let row = 0; row < values.length; row++) if (visible[row]) { const value = of(values[row]); totals[value] = (totals[value] ?? 0) + 1; }
  return { low: 0, width: 1, totals: Array.from(totals, (number) => number ?? 0), isWhole: true };
}

function bins(values, visible, absent) {
  let low = Infinity, high = -Infinity;
  for (let row = 0; row < values.length; row++) {
    if (!visible[row] || values[row] === absent) continue;
    if (values[row] < low) low = values[row];
    if (values[row] > high) high = values[row];
  }
  if (high < low) return null;
  const width = Math.max(1, (high - low + 1) / BINS), totals = new Array(Math.min(BINS, Math.ceil((high - low + 1) / width))).fill(0);
  for (let row = 0; row < values.length; row++)
    if (visible[row] && values[row] !== absent) totals[Math.min(totals.length - 1, Math.floor((values[row] - low) / width))]++;
  return { low, width, totals, high };
}

function histogram(title, found, say) {
  if (!found || !found.totals.length) return null;
  const { low, width, totals, high, isWhole } = found, most = Math.max(...totals), gap = 100 / totals.length;
  const bars = totals.map((number, at) => {
    const height = number ? Math.max(0.8, (number / most) * 56) : 0;
    const label = isWhole ? say(at) : `${say(low + at * width)} to ${say(Math.min(high, low + (at + 1) * width - 1))}`;
    return draw("rect", { x: at * gap + gap * 0.06, y: 58 - height, width: gap * 0.88, height },
      Object.assign(draw("title", {}), { textContent: `${label}: ${count(number)}` }));
  });
  const picture = draw("svg", { viewBox: "0 0 100 58", preserveAspectRatio: "none", role: "img", "aria-label": `Histogram: ${title}` }, ...bars);
  const ends = isWhole ? [say(0), say(totals.length - 1)] : [say(low), say(high)];
  return make("section", { className: "histogram" }, make("h3", { textContent: title }), picture,
    make("p", { className: "axis" }, make("span", { textContent: ends[0] }), make("span", { textContent: `most in a bar: ${count(most)}` }), make("span", { textContent: ends[1] })));
}

function credits(summary) {
  const list = [];
  for (const view of VIEWS) {
    for (const [licence, credit, number] of summary.credits[view] ?? [])
      list.push(make("li", {}, make("b", { textContent: `${VIEW_NAMES[view]}: ` }), make("bdi", { textContent: `${licence || "licence not stated"} (${credit || "no credit line"})` }), ` ${count(number)}`));
    if (summary.more_credits[view]) list.push(make("li", { textContent: `${VIEW_NAMES[view]}: ${count(summary.more_credits[view])} more in manifest.json` }));
  }
  const element = make("details", { className: "credits" }, make("summary", { textContent: "Credits of the whole corpus" }), make("ul", {}, ...list));
  element.dataset.name = "credits";
  return element;
}

function about(summary) {
  const rows = Object.entries(summary.options).flatMap(([name, value]) => [make("dt", { textContent: name }), make("dd", {}, make("bdi", { textContent: value }))]);
  const element = make("details", { className: "credits" }, make("summary", { textContent: "How it was built" }), make("dl", {}, ...rows));
  element.dataset.name = "about";
  return element;
}

/** Fills the panel of what was left out; `open` shows a place of the corpus. */
function showDrops(root, places, summary, open) {
  const seen = VIEWS.filter((view) => summary.observations[view]).map((view) => {
    const { seen: all, kept, dropped } = summary.observations[view];
    return make("tr", {}, make("th", { scope: "row", textContent: VIEW_NAMES[view] }), ...[all, kept, dropped].map((number) => make("td", { textContent: count(number) })));
  });
  const head = make("thead", {}, make("tr", {}, ...["Observations", "seen", "kept", "dropped"].map((text) => make("th", { scope: "col", textContent: text }))));
  const most = Math.max(1, ...summary.drops.map((drop) => drop.count));
  const groups = summary.drops.map((drop) => {
    const name = `${VIEW_NAMES[drop.modality] ?? (drop.modality || "Place")}: ${drop.reason.replaceAll("_", " ")}`;
    return make("details", { className: "drop" },
      make("summary", {}, make("span", { className: "reason" }, make("bdi", { textContent: name }), make("small", { textContent: STAGES[drop.stage] ?? drop.stage })), make("b", { textContent: count(drop.count) }), meter(drop.count / most)),
      make("ul", {}, ...drop.examples.map((one) => example(one, places, open))));
  });
  root.replaceChildren(
    make("section", { className: "totals" }, make("table", { className: "seen" }, head, make("tbody", {}, ...seen))),
    make("h3", { textContent: summary.drops.length ? "Why, and a few of each" : "Nothing was left out" }), ...groups);
}

function example(one, places, open) {
  const row = rowOf(places, one.key);
  const where = row >= 0 ? make("button", { type: "button", className: "link", textContent: one.key, onclick: () => open(row) }) : make("code", { textContent: one.key || "no cell" });
  const words = [one.detail, one.item_id].filter(Boolean).join(" · ");
  return make("li", {}, where, " ", make("bdi", { textContent: words }), one.count > 1 ? ` (${count(one.count)} records)` : "");
}
