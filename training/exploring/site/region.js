// The map of a run: the similarity of the region over the land, above it all places, the nearest, and the query.
"use strict";

const REACH_PX = 11;

class RegionMap extends WorldMap {
  /** Takes the canvases, positions of all places, and what to do with a position or a result that is clicked. */
  constructor(base, points, lonlat, acts) {
    super(base, points, Float64Array.from(lonlat, ([lon]) => mercatorX(lon)), Float64Array.from(lonlat, ([, lat]) => mercatorY(lat)));
    Object.assign(this, { acts, heat: null, results: [], query: null });
    this.begin();
  }

  isShown() { return true; }

  /** The result under a point of the screen, -1 where there is none. */
  findAt(x, y) {
    return this.results.find((row) => { const at = this.onScreen(this.x[row], this.y[row]); return Math.hypot(at.x - x, at.y - y) < REACH_PX; }) ?? -1;
  }

  click(x, y) {
    const row = this.findAt(x, y);
    if (row >= 0) this.acts.open(row); else this.acts.position(this.lonLatAt(x, y));
  }

  enter() {
    this.acts.position(this.lonLatAt(this.width / 2, this.height / 2));
  }

  /** Lays the heat over the land, and the borders over the heat. Its rows are of equal latitude: each is put where Mercator has it. */
  drawOver(context) {
    const { heat } = this;
    this.labelColour = heat ? "#ffffff" : null;
    if (!heat) return;
    const [west, south, east, north] = heat.extent, step = (north - south) / heat.rows, { y, scale } = this.view;
    const down = (lat) => (mercatorY(lat) - y) * scale + this.height / 2, width = ((east - west) / 360) * scale;
    context.save();
    context.beginPath();
    this.eachTurn((shiftX) => {
      const left = mercatorX(west) * scale + shiftX;
      context.rect(left, down(north), width, down(south) - down(north));
      for (let row = 0; row < heat.rows; row++) {
        const top = down(north - row * step), bottom = down(north - (row + 1) * step);
        if (bottom >= 0 && top <= this.height) context.drawImage(heat.canvas, 0, row, heat.columns, 1, left, top, width, bottom - top + 0.6);
      }
    });
    context.clip();
    context.strokeStyle = "rgba(255, 255, 255, .55)";
    this.eachRing(context, () => context.stroke());
    context.restore();
  }

  drawPoints() {
    const context = this.points.getContext("2d"), near = Math.log2(this.view.scale / (this.fitted || this.view.scale));
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    context.clearRect(0, 0, this.width, this.height);
    const side = Math.max(1.4, Math.min(6, (this.x.length > 20000 ? 1.4 : 2.2) + 0.6 * near));
    context.fillStyle = this.heat ? "rgba(255, 255, 255, .5)" : getComputedStyle(document.documentElement).getPropertyValue("--accent");
    for (let row = 0; row < this.x.length; row++) {
      const { x, y } = this.onScreen(this.x[row], this.y[row]);
      if (x > 0 && y > 0 && x < this.width && y < this.height) context.fillRect(x - side / 2, y - side / 2, side, side);
    }
    for (let rank = this.results.length; rank > 0; rank--) this.drawRank(context, rank, this.results[rank - 1]);
    if (this.query) this.drawStar(context, this.onScreen(mercatorX(this.query[0]), mercatorY(this.query[1])));
  }

  drawRank(context, rank, row) {
    const { x, y } = this.onScreen(this.x[row], this.y[row]), isChosen = row === this.chosen, radius = rank <= 9 || isChosen ? 9 : 5;
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

  drawStar(context, { x, y }) {
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
}
