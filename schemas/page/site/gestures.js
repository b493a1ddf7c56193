// How a map is moved: by mouse, fingers, keys and buttons.
"use strict";

const MOVED_PX = 5;

Object.assign(WorldMap.prototype, {
  listen() {
    const canvas = this.points;
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.release(event));
    canvas.addEventListener("pointercancel", (event) => this.pointers.delete(event.pointerId));
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      const lines = event.deltaMode === 1 ? 16 : 1;
      this.zoomAt(event.offsetX, event.offsetY, Math.exp(-Math.max(-80, Math.min(80, event.deltaY * lines)) * 0.006));
    }, { passive: false });
    byId("zoom").addEventListener("click", (event) => {
      const how = event.target.dataset.zoom;
      if (how === "all") this.showAll();
      else if (how) this.zoomAt(this.width / 2, this.height / 2, how === "in" ? 1.6 : 1 / 1.6);
    });
  },

  /** Zooms so that what lies under a point of the screen stays there. */
  zoomAt(x, y, factor) {
    const { view } = this, scale = Math.max(LEAST_SCALE, Math.min(MOST_SCALE, view.scale * factor));
    const dx = x - this.width / 2, dy = y - this.height / 2;
    this.look(view.x + dx / view.scale - dx / scale, view.y + dy / view.scale - dy / scale, scale);
  },

  press(event) {
    this.points.setPointerCapture(event.pointerId);
    this.points.classList.add("by-pointer");
    if (this.pointers.size === 0) this.travelled = 0;
    this.pointers.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
  },

  move(event) {
    const before = this.pointers.get(event.pointerId), now = { x: event.offsetX, y: event.offsetY }, { view } = this;
    if (!before) {
      if (event.pointerType === "mouse") this.points.style.cursor = this.findAt(now.x, now.y, false) < 0 ? "" : "pointer";
      return;
    }
    this.pointers.set(event.pointerId, now);
    this.travelled += Math.hypot(now.x - before.x, now.y - before.y);
    const others = [...this.pointers].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
    if (others.length === 0 && this.travelled > MOVED_PX) {
      this.look(view.x - (now.x - before.x) / view.scale, view.y - (now.y - before.y) / view.scale, view.scale);
    } else if (others.length === 1) {
      const [still] = others, apart = (at) => Math.max(1, Math.hypot(at.x - still.x, at.y - still.y));
      this.travelled += MOVED_PX + 1;
      this.look(view.x - (now.x - before.x) / 2 / view.scale, view.y - (now.y - before.y) / 2 / view.scale, view.scale);
      this.zoomAt((now.x + still.x) / 2, (now.y + still.y) / 2, apart(now) / apart(before));
    }
  },

  release(event) {
    if (!this.pointers.delete(event.pointerId) || this.travelled > MOVED_PX || this.pointers.size) return;
    this.click(event.offsetX, event.offsetY, event.pointerType === "touch");
  },

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    this.points.classList.remove("by-pointer");
    const step = 80 / this.view.scale, { x, y, scale } = this.view;
    const acts = {
      ArrowLeft: () => this.look(x - step, y, scale), ArrowRight: () => this.look(x + step, y, scale),
      ArrowUp: () => this.look(x, y - step, scale), ArrowDown: () => this.look(x, y + step, scale),
      "+": () => this.look(x, y, scale * 1.6), "=": () => this.look(x, y, scale * 1.6), "-": () => this.look(x, y, scale / 1.6),
      0: () => this.showAll(), Enter: () => this.enter(),
    };
    if (!acts[event.key]) return;
    event.preventDefault();
    acts[event.key]();
  },
});
