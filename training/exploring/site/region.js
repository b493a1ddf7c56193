// The map: similarity of the region below, places above. Web Mercator; what lies beyond 85 degrees stands at the edge.
"use strict";

const LEAST_SCALE = 200, MOST_SCALE = 256 * 2 ** 16, MOVED_PX = 5;

const mercatorX = (lon) => lon / 360 + 0.5;
const mercatorY = (lat) => {
  const sine = Math.sin((Math.max(-85.0511, Math.min(85.0511, lat)) * Math.PI) / 180);
  return 0.5 - Math.log((1 + sine) / (1 - sine)) / (4 * Math.PI);
};
const latitude = (y) => (Math.atan(Math.sinh(Math.PI * (1 - 2 * y))) * 180) / Math.PI;

class RegionMap {
  /** Takes the canvases, positions of all places, and what to do with a position or a result that is clicked. */
  constructor(base, points, lonlat, acts) {
    Object.assign(this, { base, points, acts, heat: null, results: [], query: null, chosen: -1, view: { x: 0.5, y: 0.5, scale: 600 } });
    this.x = Float64Array.from(lonlat, ([lon]) => mercatorX(lon));
    this.y = Float64Array.from(lonlat, ([, lat]) => mercatorY(lat));
    this.pointers = new Map();
    new ResizeObserver(() => this.resize()).observe(points.parentElement);
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
    this.drawAll();
  }

  showAll() {
    const west = Math.min(...bounds(this.x)), east = Math.max(...bounds(this.x)), north = Math.min(...bounds(this.y)), south = Math.max(...bounds(this.y));
    const scale = Math.min((this.width * 0.86) / Math.max(east - west, 2e-5), (this.height * 0.86) / Math.max(south - north, 2e-5));
    this.look((west + east) / 2, (north + south) / 2, scale);
    this.fitted = this.view.scale;
    this.isWhole = true;
  }

  look(x, y, scale) {
    this.isWhole = false;
    this.view = { x: Math.max(0, Math.min(1, x)), y: Math.max(0, Math.min(1, y)), scale: Math.max(LEAST_SCALE, Math.min(MOST_SCALE, scale)) };
    this.redraw();
  }

  /** Brings a place that lies outside into the middle. */
  bringIn(row) {
    const [x, y] = this.toScreen(this.x[row], this.y[row]);
    if (x < 20 || y < 20 || x > this.width - 20 || y > this.height - 20) this.look(this.x[row], this.y[row], this.view.scale);
    this.redraw();
  }

  /** Zooms so that what lies under a point of the screen stays there. */
  zoomAt(x, y, factor) {
    const { view } = this, scale = Math.max(LEAST_SCALE, Math.min(MOST_SCALE, view.scale * factor));
    const dx = x - this.width / 2, dy = y - this.height / 2;
    this.look(view.x + dx / view.scale - dx / scale, view.y + dy / view.scale - dy / scale, scale);
  }

  toScreen(x, y) {
    return [(x - this.view.x) * this.view.scale + this.width / 2, (y - this.view.y) * this.view.scale + this.height / 2];
  }

  toLonLat(x, y) {
    const lon = (this.view.x + (x - this.width / 2) / this.view.scale - 0.5) * 360;
    return [((lon + 540) % 360) - 180, latitude(this.view.y + (y - this.height / 2) / this.view.scale)];
  }

  redraw() {
    this.frame ||= requestAnimationFrame(() => { this.frame = 0; this.drawAll(); });
  }

  drawAll() {
    const styles = getComputedStyle(document.documentElement);
    this.colour = (name) => styles.getPropertyValue(name).trim();
    this.drawBase();
    this.drawPoints();
  }

  /** Rows of the heat are of equal latitude: each is put where Mercator has it. */
  drawBase() {
    const context = this.base.getContext("2d"), { heat } = this;
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    context.fillStyle = this.colour("--land");
    context.fillRect(0, 0, this.width, this.height);
    if (heat) {
      const [west, south, east, north] = heat.extent, step = (north - south) / heat.rows;
      for (let row = 0; row < heat.rows; row++) {
        const [left, top] = this.toScreen(mercatorX(west), mercatorY(north - row * step));
        const [right, bottom] = this.toScreen(mercatorX(east), mercatorY(north - (row + 1) * step));
        if (bottom < 0 || top > this.height) continue;
        context.drawImage(heat.canvas, 0, row, heat.columns, 1, left, top, right - left, bottom - top + 0.6);
      }
    }
    this.drawGraticule(context);
    this.drawScale();
  }

  drawGraticule(context) {
    const { x, y, scale } = this.view;
    const step = [30, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005].findLast((degrees) => (degrees / 360) * scale > 90) ?? 30;
    const digits = Math.max(0, Math.ceil(-Math.log10(step)));
    const west = (x - this.width / 2 / scale - 0.5) * 360, east = (x + this.width / 2 / scale - 0.5) * 360;
    const north = latitude(y - this.height / 2 / scale), south = latitude(y + this.height / 2 / scale);
    const words = [];
    context.strokeStyle = this.heat ? "rgba(255, 255, 255, .16)" : this.colour("--grid");
    context.lineWidth = 1;
    context.beginPath();
    for (let lon = Math.ceil(west / step) * step; lon <= east; lon += step) {
      const at = Math.round((mercatorX(lon) - x) * scale + this.width / 2) + 0.5;
      context.moveTo(at, 0); context.lineTo(at, this.height);
      words.push([`${Math.abs(lon).toFixed(digits)}° ${lon < 0 ? "W" : "E"}`, at + 4, 13]);
    }
    for (let lat = Math.ceil(Math.max(south, -85) / step) * step; lat <= Math.min(north, 85); lat += step) {
      const at = Math.round((mercatorY(lat) - y) * scale + this.height / 2) + 0.5;
      context.moveTo(0, at); context.lineTo(this.width, at);
      words.push([`${Math.abs(lat).toFixed(digits)}° ${lat < 0 ? "S" : "N"}`, 5, at - 4]);
    }
    context.stroke();
    context.font = "10.5px system-ui, sans-serif";
    context.lineWidth = 3;
    context.strokeStyle = this.colour("--land");
    context.fillStyle = this.colour("--soft");
    for (const [word, left, base] of words) { context.strokeText(word, left, base); context.fillText(word, left, base); }
  }

  drawPoints() {
    const context = this.points.getContext("2d"), near = Math.log2(this.view.scale / (this.fitted || this.view.scale));
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    context.clearRect(0, 0, this.width, this.height);
    const side = Math.max(1.4, Math.min(6, (this.x.length > 20000 ? 1.4 : 2.2) + 0.6 * near));
    context.fillStyle = this.heat ? "rgba(255, 255, 255, .5)" : this.colour("--accent");
    for (let row = 0; row < this.x.length; row++) {
      const [x, y] = this.toScreen(this.x[row], this.y[row]);
      if (x > 0 && y > 0 && x < this.width && y < this.height) context.fillRect(x - side / 2, y - side / 2, side, side);
    }
    for (let rank = this.results.length; rank > 0; rank--) this.drawRank(context, rank, this.results[rank - 1]);
    if (this.query) this.drawStar(context, ...this.toScreen(mercatorX(this.query[0]), mercatorY(this.query[1])));
  }

  drawRank(context, rank, row) {
    const [x, y] = this.toScreen(this.x[row], this.y[row]), isChosen = row === this.chosen, radius = rank <= 9 || isChosen ? 9 : 5;
    context.beginPath();
    context.arc(x, y, isChosen ? radius + 3 : radius, 0, 2 * Math.PI);
    context.fillStyle = isChosen ? "#ffd23f" : "#ffffff";
    context.fill();
    context.lineWidth = 2;
    context.strokeStyle = "#0b6e5f";
    context.stroke();
    if (radius < 9) return;
    context.fillStyle = "#08201b";
    context.font = "600 11px system-ui, sans-serif";
    context.textAlign = "center";
    context.fillText(String(rank), x, y + 4);
    context.textAlign = "start";
  }

  drawStar(context, x, y) {
    context.beginPath();
    for (let corner = 0; corner < 10; corner++) {
      const angle = (corner * Math.PI) / 5 - Math.PI / 2, reach = corner % 2 ? 5 : 12;
      context.lineTo(x + reach * Math.cos(angle), y + reach * Math.sin(angle));
    }
    context.closePath();
    context.fillStyle = "#ffffff";
    context.strokeStyle = "#000000";
    context.lineWidth = 1.5;
    context.fill();
    context.stroke();
  }

  drawScale() {
    const metres = (40075017 * Math.cos((latitude(this.view.y) * Math.PI) / 180)) / this.view.scale;
    const most = metres * 120, power = 10 ** Math.floor(Math.log10(most));
    const length = [5, 2, 1].find((figure) => figure * power <= most) * power;
    const bar = document.querySelector("#scale span");
    bar.style.width = `${length / metres}px`;
    bar.textContent = length >= 1000 ? `${count(length / 1000)} km` : `${length} m`;
  }

  /** The result under a point of the screen, -1 where there is none. */
  resultAt(x, y) {
    return this.results.find((row) => { const [left, top] = this.toScreen(this.x[row], this.y[row]); return Math.hypot(left - x, top - y) < 11; }) ?? -1;
  }

  listen() {
    const canvas = this.points;
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      canvas.classList.add("by-pointer");
      if (this.pointers.size === 0) this.travelled = 0;
      this.pointers.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
    });
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => {
      if (!this.pointers.delete(event.pointerId) || this.travelled > MOVED_PX || this.pointers.size) return;
      const row = this.resultAt(event.offsetX, event.offsetY);
      if (row >= 0) this.acts.open(row); else this.acts.position(this.toLonLat(event.offsetX, event.offsetY));
    });
    canvas.addEventListener("pointercancel", (event) => this.pointers.delete(event.pointerId));
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      const lines = event.deltaMode === 1 ? 16 : 1;
      this.zoomAt(event.offsetX, event.offsetY, Math.exp(-Math.max(-80, Math.min(80, event.deltaY * lines)) * 0.006));
    }, { passive: false });
  }

  move(event) {
    const before = this.pointers.get(event.pointerId), now = { x: event.offsetX, y: event.offsetY }, { view } = this;
    if (!before) {
      if (event.pointerType === "mouse") this.points.style.cursor = this.resultAt(now.x, now.y) < 0 ? "" : "pointer";
      return;
    }
    this.pointers.set(event.pointerId, now);
    this.travelled += Math.hypot(now.x - before.x, now.y - before.y);
    const still = [...this.pointers].find(([id]) => id !== event.pointerId)?.[1], share = still ? 2 : 1;
    if (!still && this.travelled <= MOVED_PX) return;
    this.look(view.x - (now.x - before.x) / share / view.scale, view.y - (now.y - before.y) / share / view.scale, view.scale);
    if (!still) return;
    const apart = (at) => Math.max(1, Math.hypot(at.x - still.x, at.y - still.y));
    this.travelled += MOVED_PX + 1;
    this.zoomAt((now.x + still.x) / 2, (now.y + still.y) / 2, apart(now) / apart(before));
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    this.points.classList.remove("by-pointer");
    const { x, y, scale } = this.view, step = 80 / scale;
    const acts = {
      ArrowLeft: () => this.look(x - step, y, scale), ArrowRight: () => this.look(x + step, y, scale),
      ArrowUp: () => this.look(x, y - step, scale), ArrowDown: () => this.look(x, y + step, scale),
      "+": () => this.look(x, y, scale * 1.6), "=": () => this.look(x, y, scale * 1.6), "-": () => this.look(x, y, scale / 1.6),
      0: () => this.showAll(), Enter: () => this.acts.position(this.toLonLat(this.width / 2, this.height / 2)),
    };
    if (!acts[event.key]) return;
    event.preventDefault();
    acts[event.key]();
  }
}

/** Least and greatest of an array that may be too long to spread. */
function bounds(values) {
  let low = Infinity, high = -Infinity;
  for (const value of values) { low = Math.min(low, value); high = Math.max(high, value); }
  return [low, high];
}
