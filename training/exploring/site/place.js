// One place: its views, who is to be credited, and where inside its patch a query and its own photo could lie.
"use strict";

/** Fills the panel of a place; `acts` has close and search. */
function showPlace(root, place, model, query, acts) {
  const facts = [place.split, asLonLat(place.lonlat)].join(" · ");
  const cards = PICTURES.filter((view) => place.views.includes(view)).map((view) => pictureCard(place, view, acts));
  if (place.views.includes("text")) cards.push(card(place, "text", make("div", { className: "words", tabIndex: 0 }, make("p", { dir: "auto", textContent: place.text })), acts));
  if (model.has_query && place.views.includes("sentinel2")) {
    if (place.views.includes("street")) cards.unshift(patchCard(place, "own", "Photo in the patch"));
    if (query && !(query.key === place.key && query.view === "street")) cards.unshift(patchCard(place, query.query, "Query in the patch"));
  }
  root.replaceChildren(
    make("div", { className: "bar" },
      make("h2", {}, "Place ", make("a", { href: `#cell=${place.key}`, textContent: place.key, title: "Link to this place" })), make("p", { textContent: facts }),
      make("button", { type: "button", textContent: "Close", title: "Close (Escape)", onclick: acts.close })),
    make("div", { className: "cards" }, ...cards));
}

function card(place, view, body, acts) {
  const credit = place.credits.find((one) => one.view === view);
  return make("article", { className: `card ${view}` }, make("h3", { textContent: VIEW_NAMES[view] }), body,
    make("button", { type: "button", className: "again", textContent: `Search with this ${VIEW_NAMES[view] === "Sentinel-2" ? "patch" : VIEW_NAMES[view].toLowerCase()}`, onclick: () => acts.search(view, place.key) }),
    credit ? make("p", { className: "credit" }, make("bdi", { textContent: credit.credit || "no credit line" }), make("br"), make("bdi", { className: "licence", textContent: credit.licence || "licence not stated" })) : null);
}

function pictureCard(place, view, acts) {
  const frame = make("div", { className: `frame ${view}` }, make("img", { src: picturePath(place.key, view), alt: `${VIEW_NAMES[view]} of ${place.key}`, decoding: "async" }));
  if (view === "sentinel2" && place.spots.street) frame.append(makeStar(place.spots.street));
  return card(place, view, frame, acts);
}

/** The similarity inside the patch, and the true position of the place's photo. */
function patchCard(place, number, title) {
  const frame = make("div", { className: "frame heat", ariaLabel: title, role: "img" }), below = make("p", { className: "facts", textContent: "…" });
  ask(`data/patch/${place.key}?query=${encodeURIComponent(number)}`).then((heat) => {
    frame.append(drawHeat(heat));
    if (place.spots.street) frame.append(makeStar(place.spots.street));
    below.replaceWith(make("div", {}, ...heatRamp(heat)), make("p", { className: "facts", textContent: place.spots.street ? "★ where the place's photo was taken" : "1.28 km, north up" }));
  }).catch((error) => { below.textContent = error.message; });
  return make("article", { className: "card patch" }, make("h3", { textContent: title }), frame, below);
}

/** A star at x to the east and y to the south, -1 ... 1. */
function makeStar([x, y]) {
  const points = Array.from({ length: 10 }, (_, corner) => {
    const angle = (corner * Math.PI) / 5 - Math.PI / 2, reach = corner % 2 ? 2 : 5;
    return `${((x + 1) * 50 + reach * Math.cos(angle)).toFixed(2)},${((y + 1) * 50 + reach * Math.sin(angle)).toFixed(2)}`;
  });
  return draw("svg", { viewBox: "0 0 100 100", class: "star", "aria-hidden": "true" }, draw("polygon", { points: points.join(" ") }));
}
