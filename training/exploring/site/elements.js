// Elements, numbers and questions to the server. Text is always text: nothing from outside is read as markup.
"use strict";

const byId = (id) => document.getElementById(id);
const VIEW_NAMES = { sentinel2: "Sentinel-2", aerial: "Aerial image", dem: "Elevation", street: "Photo", text: "Text", location: "Location" };
const PICTURES = ["aerial", "street", "sentinel2", "dem"];
/** Of matplotlib's map "magma", ten steps. */
const MAGMA = ["#000004", "#180f3d", "#440f76", "#721f81", "#9e2f7f", "#cd4071", "#f1605d", "#fd9668", "#feca8d", "#fcfdbf"];

/** Makes an element. */
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && name !== "list" && name !== "role") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Makes an element of a drawing. */
function draw(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const count = new Intl.NumberFormat("en").format;
const asLonLat = ([lon, lat]) => `${Math.abs(lat).toFixed(4)}° ${lat < 0 ? "S" : "N"}, ${Math.abs(lon).toFixed(4)}° ${lon < 0 ? "W" : "E"}`;
const asDistance = (metres) => (metres < 950 ? `${Math.round(metres / 10) * 10} m` : metres < 20000 ? `${(metres / 1000).toFixed(1)} km` : `${count(Math.round(metres / 1000))} km`);
const picturePath = (key, view) => `pictures/${encodeURIComponent(key)}/${view}.jpg`;

/** Asks the server; what it refuses is an error with its sentence. */
async function ask(path, body) {
  let answer;
  try {
    answer = await fetch(path, body === undefined ? {} : { method: "POST", body });
  } catch {
    throw new Error("The server does not answer: start it again.");
  }
  const value = await answer.json();
  if (!answer.ok) throw new Error(value.error);
  return value;
}

const RAMP = (() => {
  const steps = new Uint8ClampedArray(1024), anchors = MAGMA.map((hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)));
  for (let step = 0; step < 256; step++) {
    const along = (step / 255) * (anchors.length - 1), first = Math.min(Math.floor(along), anchors.length - 2);
    for (let channel = 0; channel < 3; channel++) steps[4 * step + channel] = anchors[first][channel] + (along - first) * (anchors[first + 1][channel] - anchors[first][channel]);
    steps[4 * step + 3] = 255;
  }
  return steps;
})();

/** Draws a map of similarities, one pixel a value. */
function drawHeat(heat) {
  const values = Uint8Array.from(atob(heat.values), (character) => character.charCodeAt(0));
  const canvas = make("canvas", { width: heat.columns, height: heat.rows });
  const image = new ImageData(heat.columns, heat.rows);
  for (let at = 0; at < values.length; at++) image.data.set(RAMP.subarray(4 * values[at], 4 * values[at] + 4), 4 * at);
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

/** A bar of the colours with the numbers at its ends. */
function makeRamp(low, high) {
  const steps = MAGMA.map((hex) => { const part = make("i"); part.style.background = hex; return part; });
  return [make("div", { className: "ramp" }, ...steps), make("div", { className: "axis" }, make("span", { textContent: low.toFixed(2) }), make("span", { textContent: "cosine" }), make("span", { textContent: high.toFixed(2) }))];
}
