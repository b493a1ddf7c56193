// One place: its views side by side, where the photo was taken, who is to be credited, and what is missing and why.
"use strict";

/** Fills the panel of a place; `acts` has close, step and link. */
function showPlace(root, place, country, acts) {
  const cards = [];
  for (const view of VIEWS) {
    const found = place.observations.filter((one) => one.modality === view);
    for (const one of found) cards.push(...viewCards(one, place));
    if (!found.length) cards.push(missingCard(view, place.drops.filter((drop) => drop.modality === view)));
  }
  const link = make("a", { href: `#cell=${place.key}`, textContent: place.key, title: "Link to this place" });
  const facts = [place.split, country, `${place.lat.toFixed(5)}, ${place.lon.toFixed(5)}`].filter(Boolean).join(" · ");
  root.replaceChildren(
    make("div", { className: "bar" },
      make("h2", {}, "Place ", link), make("p", { textContent: facts }),
      make("button", { type: "button", textContent: "‹", ariaLabel: "Previous place", title: "Previous place (left arrow)", onclick: () => acts.step(-1) }),
      make("button", { type: "button", textContent: "›", ariaLabel: "Next place", title: "Next place (right arrow)", onclick: () => acts.step(1) }),
      make("button", { type: "button", textContent: "Close", title: "Close (Escape)", onclick: acts.close })),
    make("div", { className: "cards" }, ...cards));
}

function viewCards(one, place) {
  if (one.modality === "text") return [textCard(one)];
  if (!one.pictures.length) {
    const why = one.damage ?? (place.pictures ? "no picture" : "left out of this export (--previews)");
    return [card(one, VIEW_NAMES[one.modality], make("p", { className: "blank", textContent: why }))];
  }
  return one.pictures.map((picture) => {
    const name = one.modality === "sentinel2" ? `Sentinel-2, ${picture.kind}` : VIEW_NAMES[one.modality];
    const alt = `${name} of ${place.key}`, image = make("img", { src: picture.src, alt, decoding: "async" });
    const frame = make("div", { className: `frame ${one.modality}` }, image, one.grid ? overlay(one) : null);
    frame.append(make("button", { type: "button", className: "enlarge", ariaLabel: `Enlarge: ${alt}`, onclick: () => enlarge(frame) }));
    return card(one, name, frame, picture.says);
  });
}

function card(one, name, body, says = "") {
  const facts = [
    one.date ? one.date.slice(0, 10) : "no date",
    one.cloud === null || one.cloud === undefined ? "" : `${percent(one.cloud)} cloud`,
    one.valid !== null && one.valid < 0.9995 ? `${percent(one.valid)} has data` : "",
    one.grid ? `${one.grid.px} px at ${one.grid.gsd_m} m` : `${count(one.distance_m)} m from the middle`,
    one.heading !== null && one.heading !== undefined ? `looks ${compass(one.heading)}` : "",
    one.is_pano ? "panorama" : "",
  ].filter(Boolean).join(" · ");
  return make("article", { className: `card ${one.modality}` },
    make("h3", { textContent: name }), body, make("p", { className: "facts", textContent: facts }),
    says ? make("p", { className: "facts", textContent: says }) : null, creditLine(one));
}

const compass = (degrees) => ["N", "NE", "E", "SE", "S", "SW", "W", "NW"][Math.round(degrees / 45) & 7];

function creditLine(one) {
  const item = [one.source, one.item].filter(Boolean).join(" / "), origin = originOf(one);
  return make("p", { className: "credit" }, make("bdi", { textContent: one.credit || "no credit line" }), make("br"),
    make("bdi", { className: "licence", textContent: one.licence || "licence not stated" }), make("br"), make("bdi", { className: "item", textContent: item, title: one.note ?? "" }),
    origin ? " " : null, origin ? make("a", { href: origin, target: "_blank", rel: "noopener noreferrer", textContent: "original" }) : null);
}

/** The address of a photo at Mapillary or of an article at Wikipedia; no other address from a record becomes a link. */
function originOf(one) {
  if (one.source === "mapillary" && /^[0-9]+$/.test(one.item)) return `https://www.mapillary.com/app/?pKey=${one.item}`;
  return one.modality === "text" ? one.credit?.match(/https:\/\/[a-z-]{2,20}\.wikipedia\.org\/wiki\/[^\s"'<>]+$/)?.[0] : undefined;
}

function textCard(one) {
  const title = make("h4", { dir: "auto", textContent: one.title || "untitled" });
  const body = make("div", { className: "words", tabIndex: 0 }, title, make("p", { dir: "auto", textContent: one.text }));
  return card(one, VIEW_NAMES.text, body);
}

function missingCard(view, drops) {
  const why = drops.map((drop) => make("li", {}, make("b", { textContent: drop.reason.replaceAll("_", " ") }), drop.detail ? ": " : "", make("bdi", { textContent: drop.detail })));
  return make("article", { className: "card missing" }, make("h3", { textContent: VIEW_NAMES[view] }),
    make("div", { className: "blank" }, make("p", { textContent: "Not in the corpus" }), why.length ? make("ul", {}, ...why) : null));
}

/** The cell's hexagon, and where photo and article lie, in shares of the patch. */
function overlay(one) {
  const at = (share) => (share * 100).toFixed(3);
  const shape = draw("svg", { viewBox: "0 0 100 100", "aria-hidden": "true" },
    draw("polygon", { class: "hexagon", points: one.hexagon.map(([x, y]) => `${at(x)},${at(y)}`).join(" ") }));
  for (const mark of one.marks) {
    const [x, y] = mark.at.map(at);
    const what = mark.modality === "street" ? "the photo was taken here" : "the article stands here";
    const sign = mark.modality === "street" ? photoSign(x, y, mark.heading) : draw("rect", { x: x - 1.8, y: y - 1.8, width: 3.6, height: 3.6, class: "article-mark", transform: `rotate(45 ${x} ${y})` });
    sign.append(Object.assign(draw("title", {}), { textContent: what }));
    shape.append(sign);
  }
  return shape;
}

function photoSign(x, y, heading) {
  const sign = draw("g", { class: "photo-mark" });
  if (heading !== null && heading !== undefined)
    sign.append(draw("path", { class: "gaze", d: `M${x} ${y}l-5 -12a13 13 0 0 1 10 0z`, transform: `rotate(${Number(heading)} ${x} ${y})` }));
  sign.append(draw("circle", { cx: x, cy: y, r: 2.6 }));
  return sign;
}

/** Shows a picture as large as the window; Escape or a click closes it. */
function enlarge(frame) {
  const large = frame.cloneNode(true);
  large.querySelector("button").remove();
  const dialog = make("dialog", { className: "large" }, large);
  dialog.addEventListener("click", () => dialog.close());
  dialog.addEventListener("keydown", (event) => event.stopPropagation());
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
