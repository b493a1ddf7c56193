// Puts the page together: loads the data, listens to the controls, follows the link.
"use strict";


class Page {
  constructor(summary, places) {
    Object.assign(this, { summary, places, asked: 0, from: null });
    this.describe();
    this.map = new PlaceMap(byId("base"), byId("points"), places, (row) => this.open(row));
    this.panel = new ChoicePanel(byId("choice"), places, (what) => this.change(what));
    this.listen();
    this.tab = "choice";
    this.change("colour");
    this.change("choice");
    this.follow();
  }

  describe() {
    const { summary, places } = this;
    document.title = `${summary.name || "corpus"} · sameplace`;
    byId("name").textContent = summary.name;
    byId("synthetic").hidden = !summary.synthetic;
    const bytes = summary.bytes >= 1e9 ? `${(summary.bytes / 1e9).toFixed(1)} GB` : `${(summary.bytes / 1e6).toFixed(1)} MB`;
    byId("facts").textContent = `${count(places.number)} places · ${count(summary.shards)} shards · ${bytes}`;
  }

  listen() {
    byId("reset").addEventListener("click", () => { this.panel.reset(); this.change("choice"); });
    byId("find").addEventListener("submit", (event) => {
      event.preventDefault();
      const row = rowOf(this.places, byId("find-key").value.trim().toLowerCase());
      byId("find-key").setCustomValidity(row < 0 ? "The corpus has no such cell." : "");
      if (row < 0) byId("find-key").reportValidity(); else this.open(row, true);
    });
    byId("find-key").addEventListener("input", () => byId("find-key").setCustomValidity(""));
    for (const tab of document.querySelectorAll("[role=tab]")) {
      tab.addEventListener("click", () => this.show(tab.getAttribute("aria-controls")));
      tab.addEventListener("keydown", (event) => this.stepTab(event, tab));
    }
    addEventListener("hashchange", () => this.follow());
    addEventListener("keydown", (event) => this.key(event));
  }

  stepTab(event, tab) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const tabs = [...document.querySelectorAll("[role=tab]")];
    const next = tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length];
    this.show(next.getAttribute("aria-controls"));
    next.focus();
  }

  key(event) {
    if (byId("place").hidden || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") this.close();
    const isInPlace = byId("place").contains(event.target) && !event.target.closest(".words");
    if (isInPlace && event.key === "ArrowLeft") this.step(-1);
    if (isInPlace && event.key === "ArrowRight") this.step(1);
  }

  show(name) {
    this.tab = name;
    for (const tab of document.querySelectorAll("[role=tab]")) {
      const isChosen = tab.getAttribute("aria-controls") === name;
      tab.setAttribute("aria-selected", isChosen);
      tab.tabIndex = isChosen ? 0 : -1;
      byId(tab.getAttribute("aria-controls")).hidden = !isChosen;
    }
    this.fill();
  }

  fill() {
    if (this.tab === "numbers") showNumbers(byId("numbers"), this.places, this.map.visible, this.summary, this.panel.choice.dateView);
    if (this.tab === "drops" && !byId("drops").childElementCount) showDrops(byId("drops"), this.places, this.summary, (row) => this.open(row, true));
  }

  change(what) {
    if (what === "colour") {
      const found = colourBy(this.places, this.panel.colour);
      Object.assign(this.map, { pixels: found.pixels, order: found.order });
      showLegend(byId("legend"), found);
    } else {
      const number = applyChoice(this.places, this.panel.choice, this.map.visible);
      byId("shown").textContent = count(number);
      byId("of").textContent = number === this.places.number ? `place${number === 1 ? "" : "s"}` : `of ${count(this.places.number)} places`;
      byId("reset").hidden = this.panel.isFresh;
      this.fill();
    }
    this.map.redraw(false);
  }

  /** Opens the place that the address names. */
  follow() {
    const key = new URLSearchParams(location.hash.slice(1)).get("cell");
    if (!key) { if (!byId("place").hidden) this.close(); return; }
    const row = rowOf(this.places, key);
    if (row < 0) byId("of").textContent = "places; the corpus has no cell of that link";
    else if (row !== this.map.chosen) this.open(row, true);
  }

  async open(row, nearer = false) {
    const key = keyOf(this.places, row), asked = ++this.asked, root = byId("place");
    if (root.hidden) this.from = document.activeElement;
    this.map.chosen = row;
    if (location.hash !== `#cell=${key}`) history.pushState(null, "", `#cell=${key}`);
    let place = null;
    try {
      place = await load(`places/${key.slice(4, 7)}/${key}.js`, `place ${key}`);
    } catch (error) {
      if (asked === this.asked) { root.replaceChildren(make("p", { className: "blank", textContent: `${key}: ${error.message}` })); root.hidden = false; }
      return;
    }
    if (asked !== this.asked) return;
    const country = this.places.countries[this.places.columns.country[row]] ?? "";
    const wasHidden = root.hidden;
    root.hidden = false;
    sameplace.shown = place;
    showPlace(root, place, country, { close: () => this.close(), step: (by) => this.step(by) });
    root.scrollTop = 0;
    root.focus({ preventScroll: true });
    if (wasHidden) this.map.resize();
    this.map.goTo(row, nearer ? NEAR_SCALE : 0);
    this.map.redraw();
    if (matchMedia("(max-width: 760px)").matches) root.scrollIntoView();
  }

  /** Goes to the next place that is shown, in the order of cells: neighbours follow each other. */
  step(by) {
    const { visible } = this.map, number = this.places.number;
    for (let away = 1; away <= number; away++) {
      const row = (this.map.chosen + by * away + number * 2) % number;
      if (visible[row]) { this.open(row); return; }
    }
  }

  close() {
    this.asked++;
    byId("place").hidden = true;
    byId("place").replaceChildren();
    this.map.chosen = -1;
    if (location.hash) history.pushState(null, "", location.pathname + location.search);
    (this.from?.isConnected && this.from !== document.body ? this.from : byId("points")).focus({ preventScroll: true });
    this.map.redraw();
  }
}

function showLegend(root, { entries, ramp }) {
  const parts = [];
  if (ramp) parts.push(...makeRamp(VIRIDIS, ramp));
  for (const { hex, text, number } of entries) {
    const swatch = make("i");
    swatch.style.background = hex;
    parts.push(make("div", { className: "entry" }, swatch, make("bdi", { textContent: text }), make("b", { textContent: count(number) })));
  }
  root.replaceChildren(...parts);
}

async function start() {
  followTheme(() => sameplace.page?.map.redraw());
  try {
    const [summary, packed] = await Promise.all([load("data/corpus.js", "corpus"), load("data/places.js", "places")]);
    const page = new Page(summary, readPlaces(packed));
    sameplace.page = page;
    requestAnimationFrame(() => { performance.mark("drawn"); });
    page.map.setOutlines(await load("data/outlines.js", "outlines"));
    document.documentElement.dataset.ready = "true";
  } catch (error) {
    byId("shown").textContent = "";
    byId("of").textContent = `The page cannot be shown: ${error.message}`;
    throw error;
  }
}

start();
