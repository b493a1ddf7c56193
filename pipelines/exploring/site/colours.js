// What a point's colour tells: categories in a palette that the colour-blind can read, numbers along viridis.
"use strict";

// Okabe and Ito, "Color universal design" (2008), without its black
const PALETTE = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b8a800", "#7a5195"];
const OTHERS = "#6f6a7d", NONE = "#a6afb3";
// viridis of matplotlib at equal steps, without its ends: they would vanish on a dark and on a light map
const VIRIDIS = ["#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30"];
const STEPS = 64;

const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
/** A colour as the four bytes of a pixel in memory: red first, on little-endian machines. */
const pixel = ([red, green, blue]) => ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;

/** Colours of equal steps along viridis. */
const RAMP = spread(VIRIDIS, STEPS);

/** All that points can be coloured by: [value, label, group]. */
function colourChoices(places) {
  const has = (column) => places.columns[column].some((value) => value !== places.absent[column]);
  const choices = [["split", "Split", "Place"], ["views", "Number of views", "Place"]];
  if (has("country")) choices.push(["country", "Country", "Place"]);
  if (has("elevation")) choices.push(["elevation", "Mean elevation", "Place"]);
  if (has("cloud")) choices.push(["cloud", "Cloud on the Sentinel-2 patch", "Place"]);
  for (const [what, group] of [["source", "Source of"], ["date", "Date of"], ["licence", "Licence of"]])
    for (const view of VIEWS) if (has(`${view}_${what}`)) choices.push([`${view}_${what}`, VIEW_NAMES[view], group]);
  return choices;
}

/** Colours of all points by a choice, in which order they are drawn, and what the legend says of them. */
function colourBy(places, choice) {
  if (choice === "views") return byCategory(places, places.columns.views.map(viewCount), [0, 1, 2, 3, 4, 5].map(viewsText), true);
  if (choice === "split") return byCategory(places, places.columns.split, places.words.split, true);
  if (choice === "country") return byCategory(places, places.columns.country, places.countries);
  if (choice === "elevation") return byNumber(places, choice, (metres) => `${count(Math.round(metres))} m`);
  if (choice === "cloud") return byNumber(places, choice, (halves) => `${Math.round(halves / 2)} %`);
  if (choice.endsWith("_date")) return byNumber(places, choice, asDay);
  return byCategory(places, places.columns[choice], places.words[choice.split("_")[1]]);
}

const viewsText = (number) => `${number} view${number === 1 ? "" : "s"}`;
const viewCount = (bits) => (bits & 1) + ((bits >> 1) & 1) + ((bits >> 2) & 1) + ((bits >> 3) & 1) + ((bits >> 4) & 1);

function byCategory(places, codes, words, isOrdered = false) {
  const totals = new Map();
  for (const code of codes) totals.set(code, (totals.get(code) ?? 0) + 1);
  const known = [...totals.keys()].filter((code) => code < words.length);
  known.sort((a, b) => (isOrdered ? a - b : totals.get(b) - totals.get(a)));
  const colours = new Uint32Array(65536).fill(pixel(rgb(NONE)));
  const entries = [];
  const most = known.length > PALETTE.length ? PALETTE.length - 1 : PALETTE.length;
  const isScale = codes !== places.columns.split && isOrdered;
  known.forEach((code, at) => {
    const hex = at >= most ? OTHERS : isScale ? VIRIDIS[[6, 5, 4, 3, 2, 0][code]] : PALETTE[at];
    colours[code] = pixel(rgb(hex));
    if (at < most) entries.push({ hex, text: words[code] || "not stated", number: totals.get(code) });
  });
  const others = known.slice(most).reduce((sum, code) => sum + totals.get(code), 0);
  if (others) entries.push({ hex: OTHERS, text: `${known.length - most} others`, number: others });
  const none = [...totals].filter(([code]) => code >= words.length).reduce((sum, [, number]) => sum + number, 0);
  if (none) entries.push({ hex: NONE, text: "none", number: none });
  const order = drawn(codes, [...totals.keys()].sort((a, b) => (b >= words.length) - (a >= words.length) || totals.get(b) - totals.get(a)));
  return { pixels: Uint32Array.from(codes, (code) => colours[code]), order, entries };
}

/** All rows, those of the first code first: the rare are drawn over the frequent, and all over those that have none. */
function drawn(codes, sorted) {
  const place = new Map(sorted.map((code, at) => [code, at])), starts = new Uint32Array(sorted.length + 1), order = new Uint32Array(codes.length);
  for (const code of codes) starts[place.get(code) + 1]++;
  for (let at = 0; at < sorted.length; at++) starts[at + 1] += starts[at];
  codes.forEach((code, row) => { order[starts[place.get(code)]++] = row; });
  return order;
}

function byNumber(places, column, say) {
  const values = places.columns[column], absent = column === "cloud" ? ABSENT_CLOUD : places.absent[column];
  const known = values.filter((value) => value !== absent).sort();
  // the outermost hundredths share a colour: one wrong value must not flatten all others
  const low = known[Math.floor(known.length * 0.01)], high = known[Math.floor((known.length - 1) * 0.99)];
  const ramp = RAMP.map(pixel), none = pixel(rgb(NONE)), pixels = new Uint32Array(values.length);
  const factor = high > low ? (STEPS - 1) / (high - low) : 0;
  for (let row = 0; row < values.length; row++) {
    const step = Math.round((values[row] - low) * factor);
    pixels[row] = values[row] === absent ? none : ramp[step < 0 ? 0 : step >= STEPS ? STEPS - 1 : step];
  }
  const missing = values.length - known.length;
  const entries = missing ? [{ hex: NONE, text: "none", number: missing }] : [];
  const order = drawn(values.map((value) => (value === absent ? 0 : 1)), [0, 1]);
  return { pixels, order, entries, ramp: [say(low), say((low + high) / 2), say(high)] };
}
