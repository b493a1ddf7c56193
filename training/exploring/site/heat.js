// How similarities are drawn, how positions are written, and questions to the server.
"use strict";

/** Views that can be seen, those that show most first. */
const PICTURES = ["aerial", "street", "sentinel2", "dem"];
/** Of matplotlib's map "magma", ten steps. */
const MAGMA = ["#000004", "#180f3d", "#440f76", "#721f81", "#9e2f7f", "#cd4071", "#f1605d", "#fd9668", "#feca8d", "#fcfdbf"];
const RAMP = spread(MAGMA, 256).map((colour) => [...colour, 255]);

const asLonLat = ([lon, lat]) => `${asDegrees(lat, 4, "NS")}, ${asDegrees(lon, 4, "EW")}`;
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

/** Draws a map of similarities, one pixel a value. */
function drawHeat(heat) {
  const values = unpack(heat.values);
  const canvas = make("canvas", { width: heat.columns, height: heat.rows });
  const image = new ImageData(heat.columns, heat.rows);
  for (let at = 0; at < values.length; at++) image.data.set(RAMP[values[at]], 4 * at);
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

/** The colours with the similarities at their ends. */
const heatRamp = ({ low, high }) => makeRamp(MAGMA, [low.toFixed(2), "cosine", high.toFixed(2)]);
