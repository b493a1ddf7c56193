// The places of a corpus on the map: thousands of coloured points, the nearest of which is found again.
"use strict";

const REACH_PX = 14, TOUCH_PX = 24, NEAR_SCALE = 256 * 2 ** 8;

class PlaceMap extends WorldMap {
  /** Takes the two canvases, the places, and what to do with a place that is clicked. */
  constructor(base, points, places, choose) {
    super(base, points, Float32Array.from(places.columns.lon, mercatorX), Float32Array.from(places.columns.lat, mercatorY));
    this.choose = choose;
    this.visible = new Uint8Array(places.number).fill(1);
    this.pixels = new Uint32Array(places.number).fill(0xff888888);
    this.order = Uint32Array.from({ length: places.number }, (_, row) => row);
    points.addEventListener("dblclick", (event) => this.zoomAt(event.offsetX, event.offsetY, 2));
    this.begin();
  }

  isShown(row) { return this.visible[row]; }

  /** The visible place nearest to a point of the screen, -1 where none is within reach. */
  findAt(x, y, isTouch, reach = isTouch ? TOUCH_PX : REACH_PX) {
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

  click(x, y, isTouch) {
    const row = this.findAt(x, y, isTouch);
    if (row >= 0) this.choose(row);
  }

  enter() {
    const row = this.findAt(this.width / 2, this.height / 2, false, Infinity);
    if (row >= 0) this.choose(row);
  }

  /** Points are written pixel by pixel: a disc with a soft edge each, faster than any call of the canvas. */
  drawPoints() {
    const { x, y, visible, pixels, order, ratio } = this, { width, height } = this.points;
    if (this.image?.width !== width || this.image.height !== height) this.image = new ImageData(width, height);
    const words = new Uint32Array(this.image.data.buffer).fill(0);
    const nearer = Math.log2(this.view.scale / (this.fitted || this.view.scale));
    const least = x.length > 30000 ? 1.7 : x.length > 5000 ? 2.2 : 2.9;
    const radius = Math.max(1.3, Math.min(7, least + 0.6 * nearer)) * ratio;
    const disc = this.makeDisc(radius, width), margin = Math.ceil(radius) + 1;
    const scale = this.view.scale * ratio, turns = Math.ceil(width / scale / 2 + 0.5);
    for (let turn = -turns; turn <= turns; turn++) {
      const shiftX = (turn - this.view.x) * scale + width / 2, shiftY = -this.view.y * scale + height / 2;
      if (shiftX + scale < 0 || shiftX > width) continue;
      for (let at = 0; at < order.length; at++) {
        const row = order[at];
        if (!visible[row]) continue;
        const column = Math.round(x[row] * scale + shiftX), line = Math.round(y[row] * scale + shiftY);
        if (column < margin || line < margin || column >= width - margin || line >= height - margin) continue;
        const middle = line * width + column, colour = pixels[row];
        for (let i = 0; i < disc.inner.length; i++) words[middle + disc.inner[i]] = colour;
        for (let i = 0; i < disc.edge.length; i++) {
          const to = middle + disc.edge[i];
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
    const ring = byId("chosen"), row = this.chosen;
    ring.hidden = row < 0;
    if (row < 0) return;
    const at = this.onScreen(this.x[row], this.y[row]);
    ring.style.transform = `translate(${at.x}px, ${at.y}px)`;
  }
}
