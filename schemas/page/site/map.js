// A map: outlines of countries below, points above. Web Mercator; what lies beyond 85 degrees stands at the edge.
"use strict";

const LEAST_SCALE = 200, MOST_SCALE = 256 * 2 ** 16;

const mercatorX = (lon) => lon / 360 + 0.5;
const mercatorY = (lat) => {
  const sine = Math.sin((Math.max(-85.0511, Math.min(85.0511, lat)) * Math.PI) / 180);
  return 0.5 - Math.log((1 + sine) / (1 - sine)) / (4 * Math.PI);
};
const latitude = (y) => (Math.atan(Math.sinh(Math.PI * (1 - 2 * y))) * 180) / Math.PI;

/** What every map does. One that is made of it has drawPoints, isShown, findAt, click and enter; and drawOver, if it lays something over the land. */
class WorldMap {
  /** Takes the two canvases, and where the places lie in shares of the world's width and height. */
  constructor(base, points, x, y) {
    Object.assign(this, { base, points, x, y, chosen: -1, outlines: null, view: { x: 0.5, y: 0.5, scale: 600 }, pointers: new Map() });
  }

  /** Begins to draw and to listen, once all is there that is drawn. */
  begin() {
    new ResizeObserver(() => this.resize()).observe(this.points.parentElement);
    this.listen();
    this.resize();
    this.showAll();
  }

  resize() {
    const box = this.points.parentElement.getBoundingClientRect(), before = this.width;
    this.ratio = Math.min(window.devicePixelRatio || 1, 2);
    this.width = Math.max(1, Math.round(box.width));
    this.height = Math.max(1, Math.round(box.height));
    for (const canvas of [this.base, this.points]) {
      canvas.width = Math.round(this.width * this.ratio);
      canvas.height = Math.round(this.height * this.ratio);
    }
    if (before && before !== this.width && this.isWhole) this.showAll();
    this.drawBase();
    this.drawPoints();
  }

  /** Fits all places that are shown, or the whole world where there are none. */
  showAll() {
    const bounds = [1, 1, 0, 0];
    for (let row = 0; row < this.x.length; row++) {
      if (!this.isShown(row)) continue;
      bounds[0] = Math.min(bounds[0], this.x[row]); bounds[2] = Math.max(bounds[2], this.x[row]);
      bounds[1] = Math.min(bounds[1], this.y[row]); bounds[3] = Math.max(bounds[3], this.y[row]);
    }
    if (bounds[2] < bounds[0]) bounds.splice(0, 4, 0, 0, 1, 1);
    const wide = Math.max(bounds[2] - bounds[0], 2e-4), high = Math.max(bounds[3] - bounds[1], 2e-4);
    this.fitted = Math.min((this.width * 0.86) / wide, (this.height * 0.86) / high, MOST_SCALE);
    this.look((bounds[0] + bounds[2]) / 2, (bounds[1] + bounds[3]) / 2, this.fitted);
    this.isWhole = true;
  }

  look(x, y, scale) {
    this.isWhole = false;
    const bounded = Math.max(LEAST_SCALE, Math.min(MOST_SCALE, scale));
    this.view = { x: x - Math.floor(x), y: Math.max(0, Math.min(1, y)), scale: bounded };
    this.redraw();
  }

  /** Brings a place into the middle, unless it is in view already, and at least as near as a scale. */
  goTo(row, scale = 0) {
    const at = this.onScreen(this.x[row], this.y[row]);
    const isInside = at.x > 40 && at.y > 40 && at.x < this.width - 40 && at.y < this.height - 40;
    if (scale || !isInside) this.look(this.x[row], this.y[row], Math.max(this.view.scale, scale));
  }

  /** Where a position stands: the nearer way round. */
  onScreen(x, y) {
    let away = x - this.view.x;
    if (away > 0.5) away -= 1; else if (away < -0.5) away += 1;
    return { x: away * this.view.scale + this.width / 2, y: (y - this.view.y) * this.view.scale + this.height / 2 };
  }

  /** Longitude and latitude of a point of the screen. */
  lonLatAt(x, y) {
    const lon = (this.view.x + (x - this.width / 2) / this.view.scale - 0.5) * 360;
    return [turned(lon), latitude(this.view.y + (y - this.height / 2) / this.view.scale)];
  }

  /** Draws again with the next frame; the base too, unless only points have changed. */
  redraw(withBase = true) {
    this.isBaseOld ||= withBase;
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      if (this.isBaseOld) this.drawBase();
      this.isBaseOld = false;
      this.drawPoints();
    });
  }

  /** Keeps outlines at two levels of detail: all points, and those on a coarse grid for views from afar. */
  setOutlines(packed) {
    const points = unpack(packed.points), lengths = unpack(packed.lengths);
    const fine = [], coarse = [];
    for (let ring = 0, from = 0; ring < lengths.length; from += lengths[ring++]) {
      const line = new Float32Array(2 * lengths[ring]), bounds = [9, 9, -9, -9], far = [];
      for (let i = 0; i < lengths[ring]; i++) {
        const stepX = points[2 * (from + i)], stepY = points[2 * (from + i) + 1];
        const x = stepX / 65535, y = mercatorY((stepY / 65535) * 180 - 90);
        line[2 * i] = x; line[2 * i + 1] = y;
        bounds[0] = Math.min(bounds[0], x); bounds[1] = Math.min(bounds[1], y);
        bounds[2] = Math.max(bounds[2], x); bounds[3] = Math.max(bounds[3], y);
        const snapX = (stepX >> 6 << 6) / 65535, snapY = mercatorY(((stepY >> 6 << 6) / 65535) * 180 - 90);
        if (far.at(-2) !== snapX || far.at(-1) !== snapY) far.push(snapX, snapY);
      }
      fine.push({ line, bounds });
      if (far.length >= 8) coarse.push({ line: Float32Array.from(far), bounds });
    }
    this.outlines = { fine, coarse, labels: packed.labels.sort((one, other) => other[3] - one[3]) };
    this.redraw();
  }

  drawBase() {
    const context = this.base.getContext("2d"), styles = getComputedStyle(document.documentElement);
    const colour = (name) => styles.getPropertyValue(name).trim();
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    context.fillStyle = colour("--sea");
    context.fillRect(0, 0, this.width, this.height);
    const words = this.drawGraticule(context, colour);
    this.drawOutlines(context, colour);
    this.drawOver?.(context, colour);
    this.drawLabels(context, colour);
    this.drawWords(context, colour, words);
    this.drawScale();
  }

  drawOutlines(context, colour) {
    context.fillStyle = colour("--land");
    context.strokeStyle = colour("--border");
    context.lineWidth = 0.8;
    // ring by ring: one path of all is many times slower, and no country has a hole that is not another country
    this.eachRing(context, () => { context.fill(); context.stroke(); });
  }

  /** Traces every ring that is in view and lets it be drawn. */
  eachRing(context, act) {
    const rings = this.view.scale < 1400 ? this.outlines?.coarse : this.outlines?.fine;
    this.eachTurn((shiftX) => { for (const ring of rings ?? []) if (this.trace(context, ring, shiftX)) act(); });
  }

  eachTurn(act) {
    const { x, scale } = this.view, turns = Math.ceil(this.width / scale / 2 + 0.5);
    for (let turn = -turns; turn <= turns; turn++) {
      const shiftX = (turn - x) * scale + this.width / 2;
      if (shiftX + scale > 0 && shiftX < this.width) act(shiftX);
    }
  }

  trace(context, { line, bounds }, shiftX) {
    const { y, scale } = this.view, shiftY = -y * scale + this.height / 2;
    if (bounds[2] * scale + shiftX < 0 || bounds[0] * scale + shiftX > this.width) return false;
    if (bounds[3] * scale + shiftY < 0 || bounds[1] * scale + shiftY > this.height) return false;
    if ((bounds[2] - bounds[0]) * scale < 0.7 && (bounds[3] - bounds[1]) * scale < 0.7) return false;
    context.beginPath();
    context.moveTo(line[0] * scale + shiftX, line[1] * scale + shiftY);
    for (let i = 2; i < line.length; i += 2) context.lineTo(line[i] * scale + shiftX, line[i + 1] * scale + shiftY);
    return true;
  }

  /** Draws the lines of the grid, and returns what is written at them: words, left, base. */
  drawGraticule(context, colour) {
    const { x, y, scale } = this.view, words = [];
    const step = [90, 60, 30, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005].findLast((degrees) => (degrees / 360) * scale > 72) ?? 90;
    const digits = Math.max(0, Math.ceil(-Math.log10(step)));
    const west = (x - this.width / 2 / scale - 0.5) * 360, east = (x + this.width / 2 / scale - 0.5) * 360;
    const north = latitude(y - this.height / 2 / scale), south = latitude(y + this.height / 2 / scale);
    context.strokeStyle = colour("--grid");
    context.lineWidth = 1;
    context.beginPath();
    for (let lon = Math.ceil(west / step) * step; lon <= east; lon += step) {
      const at = Math.round((mercatorX(lon) - x) * scale + this.width / 2) + 0.5;
      context.moveTo(at, 0); context.lineTo(at, this.height);
      words.push([asDegrees(turned(lon), digits, "EW"), at + 3, 12]);
    }
    for (let lat = Math.ceil(Math.max(south, -85) / step) * step; lat <= Math.min(north, 85); lat += step) {
      const at = Math.round((mercatorY(lat) - y) * scale + this.height / 2) + 0.5;
      context.moveTo(0, at); context.lineTo(this.width, at);
      words.push([asDegrees(lat, digits, "NS"), 4, at - 3]);
    }
    context.stroke();
    return words;
  }

  /** Names of countries, of the large ones first; one that would touch another is left out. */
  drawLabels(context, colour) {
    const written = [];
    context.font = "500 11px system-ui, sans-serif";
    context.lineJoin = "round";
    context.textAlign = "center";
    context.lineWidth = 2.5;
    context.strokeStyle = this.labelColour ? "rgba(30, 12, 40, .6)" : colour("--land");
    context.fillStyle = this.labelColour ?? colour("--label");
    for (const [name, lon, lat, extent] of this.outlines?.labels ?? []) {
      const room = (extent / 360) * this.view.scale;
      if (room < 24) break;
      const half = context.measureText(name).width / 2 + 3;
      if (room < half * 1.8) continue;
      this.eachTurn((shiftX) => {
        const x = mercatorX(lon) * this.view.scale + shiftX, y = (mercatorY(lat) - this.view.y) * this.view.scale + this.height / 2;
        if (x < -half || x > this.width + half || y < 0 || y > this.height) return;
        if (written.some((other) => Math.abs(other.x - x) < other.half + half && Math.abs(other.y - y) < 13)) return;
        written.push({ x, y, half });
        context.strokeText(name, x, y);
        context.fillText(name, x, y);
      });
    }
    context.textAlign = "start";
  }

  /** The figures of the grid, with a rim that keeps them readable on whatever lies below. */
  drawWords(context, colour, words) {
    context.font = "10px system-ui, sans-serif";
    context.lineWidth = 2.5;
    context.strokeStyle = colour("--rim");
    context.fillStyle = colour("--soft");
    for (const [text, left, base] of words) { context.strokeText(text, left, base); context.fillText(text, left, base); }
  }

  drawScale() {
    const metres = (40075017 * Math.cos((latitude(this.view.y) * Math.PI) / 180)) / this.view.scale;
    const most = metres * 120, power = 10 ** Math.floor(Math.log10(most));
    const length = [5, 2, 1].find((figure) => figure * power <= most) * power;
    const bar = document.querySelector("#scale span");
    bar.style.width = `${length / metres}px`;
    bar.textContent = length >= 1000 ? `${count(length / 1000)} km` : `${length} m`;
  }
}

/** A longitude between -180 and 180. */
const turned = (lon) => ((((lon + 180) % 360) + 360) % 360) - 180;

/** An angle with the letter of its side: the first where it is positive. */
const asDegrees = (angle, digits, [positive, negative]) => `${Math.abs(angle).toFixed(digits)}° ${angle < 0 ? negative : positive}`;
