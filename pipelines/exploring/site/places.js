// The map: outlines below, points above, both by hand. Web Mercator; what lies beyond 85 degrees stands at the edge.
"use strict";

const LEAST_SCALE = 200, MOST_SCALE = 256 * 2 ** 15;
const REACH_PX = 14;

const mercatorX = (lon) => lon / 360 + 0.5;
const mercatorY = (lat) => {
  const sine = Math.sin((Math.max(-85.0511, Math.min(85.0511, lat)) * Math.PI) / 180);
  return 0.5 - Math.log((1 + sine) / (1 - sine)) / (4 * Math.PI);
};
const latitude = (y) => (Math.atan(Math.sinh(Math.PI * (1 - 2 * y))) * 180) / Math.PI;

class PlaceMap {
  /** Takes the two canvases, the places, and what to do with a place that is clicked. */
  constructor(base, points, places, choose) {
    Object.assign(this, { base, points, places, choose, chosen: -1, outlines: null, radius: 2 });
    this.x = Float32Array.from(places.columns.lon, mercatorX);
    this.y = Float32Array.from(places.columns.lat, mercatorY);
    this.visible = new Uint8Array(places.number).fill(1);
    this.pixels = new Uint32Array(places.number).fill(0xff888888);
    this.view = { x: 0.5, y: 0.5, scale: 600 };
    this.pointers = new Map();
    new ResizeObserver(() => this.resize()).observe(points.parentElement);
    this.listen();
    this.resize();
    this.showAll();
  }

  resize() {
    const box = this.points.parentElement.getBoundingClientRect();
    this.ratio = Math.min(window.devicePixelRatio || 1, 2);
    this.width = Math.max(1, Math.round(box.width));
    this.height = Math.max(1, Math.round(box.height));
    for (const canvas of [this.base, this.points]) {
      canvas.width = Math.round(this.width * this.ratio);
      canvas.height = Math.round(this.height * this.ratio);
    }
    this.image = new ImageData(this.points.width, this.points.height);
    this.words = new Uint32Array(this.image.data.buffer);
    this.drawBase();
    this.drawPoints();
  }

  /** Fits all places that are visible, or the whole world where there are none. */
  showAll() {
    const bounds = [1, 1, 0, 0];
    for (let row = 0; row < this.x.length; row++) {
      if (!this.visible[row]) continue;
      bounds[0] = Math.min(bounds[0], this.x[row]); bounds[2] = Math.max(bounds[2], this.x[row]);
      bounds[1] = Math.min(bounds[1], this.y[row]); bounds[3] = Math.max(bounds[3], this.y[row]);
    }
    if (bounds[2] < bounds[0]) bounds.splice(0, 4, 0, 0, 1, 1);
    const wide = Math.max(bounds[2] - bounds[0], 2e-4), high = Math.max(bounds[3] - bounds[1], 2e-4);
    this.fitted = Math.min((this.width * 0.86) / wide, (this.height * 0.86) / high, MOST_SCALE);
    this.look((bounds[0] + bounds[2]) / 2, (bounds[1] + bounds[3]) / 2, this.fitted);
  }

  look(x, y, scale) {
    const bounded = Math.max(LEAST_SCALE, Math.min(MOST_SCALE, scale));
    this.view = { x: x - Math.floor(x), y: Math.max(0, Math.min(1, y)), scale: bounded };
    this.redraw();
  }

  /** Brings a place into the middle, near enough to tell it from its neighbours. */
  goTo(row, nearer = true) {
    const at = this.onScreen(row);
    const isInside = at.x > 40 && at.y > 40 && at.x < this.width - 40 && at.y < this.height - 40;
    if (!nearer && isInside) return;
    this.look(this.x[row], this.y[row], nearer ? Math.max(this.view.scale, 256 * 2 ** 8) : this.view.scale);
  }

  onScreen(row) {
    let away = this.x[row] - this.view.x;
    if (away > 0.5) away -= 1; else if (away < -0.5) away += 1;
    return { x: away * this.view.scale + this.width / 2, y: (this.y[row] - this.view.y) * this.view.scale + this.height / 2 };
  }

  /** Draws again with the next frame; the outlines too, unless only points have changed. */
  redraw(withBase = true) {
    this.isBaseOld ||= withBase;
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      if (this.isBaseOld) this.drawBase();
      this.isBaseOld = false;
      this.drawPoints();
    });
  }

  /** The visible place nearest to a point of the screen, -1 where none is within reach. */
  nearest(x, y, reach = REACH_PX) {
    let best = -1, least = reach * reach;
    const { scale } = this.view, half = this.width / 2, middle = this.height / 2;
    for (let row = 0; row < this.x.length; row++) {
      if (!this.visible[row]) continue;
      let away = this.x[row] - this.view.x;
      if (away > 0.5) away -= 1; else if (away < -0.5) away += 1;
      const dx = away * scale + half - x, dy = (this.y[row] - this.view.y) * scale + middle - y;
      const square = dx * dx + dy * dy;
      if (square < least) { least = square; best = row; }
    }
    return best;
  }

  /** Points are written pixel by pixel: a disc with a soft edge each, faster than any call of the canvas. */
  drawPoints() {
    const { words, x, y, visible, pixels, ratio } = this;
    const width = this.points.width, height = this.points.height;
    words.fill(0);
    const nearer = Math.log2(this.view.scale / (this.fitted || this.view.scale));
    const least = x.length > 30000 ? 1.7 : x.length > 5000 ? 2.2 : 2.9;
    this.radius = Math.max(1.3, Math.min(7, least + 0.6 * nearer));
    const disc = this.makeDisc(this.radius * ratio, width), margin = Math.ceil(this.radius * ratio) + 1;
    const scale = this.view.scale * ratio, turns = Math.ceil(width / scale / 2 + 0.5);
    for (let turn = -turns; turn <= turns; turn++) {
      const shiftX = (turn - this.view.x) * scale + width / 2, shiftY = -this.view.y * scale + height / 2;
      if (shiftX + scale < 0 || shiftX > width) continue;
      for (let row = 0; row < x.length; row++) {
        if (!visible[row]) continue;
        const column = Math.round(x[row] * scale + shiftX), line = Math.round(y[row] * scale + shiftY);
        if (column < margin || line < margin || column >= width - margin || line >= height - margin) continue;
        const at = line * width + column, colour = pixels[row];
        for (let i = 0; i < disc.inner.length; i++) words[at + disc.inner[i]] = colour;
        for (let i = 0; i < disc.edge.length; i++) {
          const to = at + disc.edge[i];
          if (words[to] >>> 24 < disc.alpha[i]) words[to] = ((disc.alpha[i] << 24) | (colour & 0xffffff)) >>> 0;
        }
      }
    }
    this.points.getContext("2d", { willReadFrequently: true }).putImageData(this.image, 0, 0);
    this.markChosen();
  }

  makeDisc(radius, width) {
    const inner = [], edge = [], alpha = [], reach = Math.ceil(radius);
    for (let dy = -reach; dy <= reach; dy++)
      for (let dx = -reach; dx <= reach; dx++) {
        const share = radius + 0.5 - Math.hypot(dx, dy);
        if (share >= 1) inner.push(dy * width + dx);
        else if (share > 0.1) { edge.push(dy * width + dx); alpha.push(Math.round(share * 255)); }
      }
    return { inner, edge, alpha };
  }

  markChosen() {
    const ring = document.getElementById("chosen"), row = this.chosen;
    ring.hidden = row < 0;
    if (row < 0) return;
    const at = this.onScreen(row);
    ring.style.transform = `translate(${at.x}px, ${at.y}px)`;
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
    this.outlines = { fine, coarse, labels: packed.labels };
    this.redraw();
  }

  drawBase() {
    const context = this.base.getContext("2d"), styles = getComputedStyle(document.documentElement);
    const colour = (name) => styles.getPropertyValue(name).trim();
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    context.fillStyle = colour("--sea");
    context.fillRect(0, 0, this.width, this.height);
    this.drawGraticule(context, colour);
    if (this.outlines) {
      const rings = this.view.scale < 1400 ? this.outlines.coarse : this.outlines.fine;
      context.fillStyle = colour("--land");
      context.strokeStyle = colour("--border");
      context.lineWidth = 0.8;
      // ring by ring: one path of all is many times slower, and no country has a hole that is not another country
      this.eachTurn((shiftX) => { for (const ring of rings) this.trace(context, ring, shiftX); });
      this.drawLabels(context, colour);
    }
    this.drawScale();
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
    if (bounds[2] * scale + shiftX < 0 || bounds[0] * scale + shiftX > this.width) return;
    if (bounds[3] * scale + shiftY < 0 || bounds[1] * scale + shiftY > this.height) return;
    if ((bounds[2] - bounds[0]) * scale < 0.7 && (bounds[3] - bounds[1]) * scale < 0.7) return;
    context.beginPath();
    context.moveTo(line[0] * scale + shiftX, line[1] * scale + shiftY);
    for (let i = 2; i < line.length; i += 2) context.lineTo(line[i] * scale + shiftX, line[i + 1] * scale + shiftY);
    context.fill();
    context.stroke();
  }

  drawGraticule(context, colour) {
    const { x, y, scale } = this.view;
    const step = [30, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01].findLast((degrees) => (degrees / 360) * scale > 90) ?? 30;
    const west = (x - this.width / 2 / scale - 0.5) * 360, east = (x + this.width / 2 / scale - 0.5) * 360;
    const north = latitude(y - this.height / 2 / scale), south = latitude(y + this.height / 2 / scale);
    context.strokeStyle = colour("--grid");
    context.fillStyle = colour("--grid-text");
    context.lineWidth = 1;
    context.font = "10px system-ui, sans-serif";
    context.beginPath();
    const digits = step < 0.1 ? 2 : step < 1 ? 1 : 0;
    for (let lon = Math.ceil(west / step) * step; lon <= east; lon += step) {
      const at = Math.round((mercatorX(lon) - x) * scale + this.width / 2) + 0.5;
      context.moveTo(at, 0); context.lineTo(at, this.height);
      const turned = ((lon + 540) % 360) - 180;
      context.fillText(`${Math.abs(turned).toFixed(digits)}° ${turned < 0 ? "W" : "E"}`, at + 3, 12);
    }
    for (let lat = Math.ceil(Math.max(south, -85) / step) * step; lat <= Math.min(north, 85); lat += step) {
      const at = Math.round((mercatorY(lat) - y) * scale + this.height / 2) + 0.5;
      context.moveTo(0, at); context.lineTo(this.width, at);
      context.fillText(`${Math.abs(lat).toFixed(digits)}° ${lat < 0 ? "S" : "N"}`, 4, at - 3);
    }
    context.stroke();
  }

  drawLabels(context, colour) {
    context.font = "500 11px system-ui, sans-serif";
    context.textAlign = "center";
    context.fillStyle = colour("--label");
    for (const [name, lon, lat, extent] of this.outlines.labels) {
      const room = (extent / 360) * this.view.scale;
      if (room < 24 || room < context.measureText(name).width * 0.9) continue;
      this.eachTurn((shiftX) => {
        const at = mercatorX(lon) * this.view.scale + shiftX, line = (mercatorY(lat) - this.view.y) * this.view.scale + this.height / 2;
        if (at > -60 && at < this.width + 60 && line > 0 && line < this.height) context.fillText(name, at, line);
      });
    }
    context.textAlign = "start";
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
