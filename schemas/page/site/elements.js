// Elements, numbers, and light or dark. Text is always text: nothing from outside is read as markup.
"use strict";

const VIEW_NAMES = { sentinel2: "Sentinel-2", aerial: "Aerial image", dem: "Elevation", street: "Photo", text: "Text", location: "Location" };
const KINDS = { u1: Uint8Array, u2: Uint16Array, i2: Int16Array, u4: Uint32Array, f4: Float32Array };
const THEMES = ["auto", "light", "dark"];

const byId = (id) => document.getElementById(id);
const count = new Intl.NumberFormat("en").format;

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

/** A bar of colours with words at its ends and between. */
function makeRamp(colours, words) {
  const steps = colours.map((hex) => { const part = make("i"); part.style.background = hex; return part; });
  return [make("div", { className: "ramp" }, ...steps), make("div", { className: "axis" }, ...words.map((textContent) => make("span", { textContent })))];
}

/** Little-endian numbers in base64, as every machine with a browser has them. */
function unpack([kind, text]) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  return new KINDS[kind](bytes.buffer);
}

/** Red, green and blue at equal steps along a list of colours. */
function spread(colours, number) {
  const anchors = colours.map((hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)));
  return Array.from({ length: number }, (_, step) => {
    const along = (step / (number - 1)) * (anchors.length - 1), first = Math.min(Math.floor(along), anchors.length - 2);
    return anchors[first].map((channel, i) => Math.round(channel + (anchors[first + 1][i] - channel) * (along - first)));
  });
}

/** Light, dark, or as the system has it; kept by the browser where it keeps anything. */
function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  byId("theme").textContent = `Theme: ${theme}`;
  try { localStorage.setItem("theme", theme); } catch { /* a page from disk may have no store */ }
}

/** Takes the kept theme, follows button and system, and tells of every change. */
function followTheme(changed) {
  let theme = null;
  try { theme = localStorage.getItem("theme"); } catch { /* the same */ }
  setTheme(THEMES.includes(theme) ? theme : "auto");
  byId("theme").addEventListener("click", () => {
    setTheme(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length]);
    changed();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
}
