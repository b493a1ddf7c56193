// Puts the page together: takes queries, shows who is near, and follows the link to a place.
"use strict";

const SHORT_SIDE_PX = 512, MOST_SIDE_PX = 2048, MOST_PICTURES = 3;

class Page {
  constructor(model) {
    Object.assign(this, { model, asked: 0, opened: 0, last: null, answer: null, from: null, shownUrl: null });
    this.rowOf = new Map(model.keys.map((key, row) => [key, row]));
    document.title = `${model.run} · sameplace`;
    byId("name").textContent = model.run;
    byId("facts").textContent = `${count(model.number)} places of ${model.corpus} (${model.splits.join(", ")})`;
    this.map = new RegionMap(byId("base"), byId("points"), model.lonlat, { position: (lonlat) => this.searchPosition(lonlat), open: (row) => this.open(model.keys[row]) });
    this.makeTargets();
    this.legend(null);
    this.listen();
    byId("status").textContent = "Write a text, click the map, or choose a photo.";
    for (const [view, id] of [["text", "text"], ["text", "go"], ["street", "file"]]) byId(id).disabled = !model.views.includes(view);
    byId("drop").classList.toggle("off", byId("file").disabled);
    this.follow();
  }

  makeTargets() {
    const views = this.model.views.filter((view) => this.model.counts[view] > 0);
    this.target = ["aerial", "street", "sentinel2"].filter((view) => views.includes(view)).sort((a, b) => this.model.counts[b] - this.model.counts[a])[0] ?? views[0];
    const chips = views.map((view) => make("label", { className: "chip" },
      make("input", { type: "radio", name: "target", value: view, checked: view === this.target, onchange: () => { this.target = view; this.again(); } }),
      make("span", { textContent: VIEW_NAMES[view], title: `${count(this.model.counts[view])} places` })));
    document.querySelector("#targets .chips").replaceChildren(...chips);
  }

  listen() {
    byId("words").addEventListener("submit", (event) => { event.preventDefault(); this.submit(); });
    byId("text").addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); this.searchText(); }
    });
    byId("position").addEventListener("keydown", (event) => { if (event.key === "Enter") { event.preventDefault(); this.search("location", byId("position").value, byId("position").value); } });
    byId("file").addEventListener("change", () => { if (byId("file").files[0]) this.searchPhoto(byId("file").files[0]); byId("file").value = ""; });
    addEventListener("dragover", (event) => { event.preventDefault(); byId("dropzone").hidden = false; });
    addEventListener("dragleave", (event) => { if (!event.relatedTarget) byId("dropzone").hidden = true; });
    addEventListener("drop", (event) => {
      event.preventDefault();
      byId("dropzone").hidden = true;
      const file = [...event.dataTransfer.files].find((one) => one.type.startsWith("image/"));
      if (file) this.searchPhoto(file); else this.fail("That is no picture: drop a photo.");
    });
    addEventListener("paste", (event) => {
      const file = [...(event.clipboardData?.files ?? [])].find((one) => one.type.startsWith("image/"));
      if (file) this.searchPhoto(file);
    });
    addEventListener("hashchange", () => this.follow());
    addEventListener("keydown", (event) => { if (event.key === "Escape" && !byId("place").hidden) this.close(); });
  }

  submit() {
    if (document.activeElement === byId("position") || (!byId("text").value.trim() && byId("position").value.trim())) this.search("location", byId("position").value, byId("position").value);
    else this.searchText();
  }

  searchText() {
    const text = byId("text").value.trim();
    if (text) this.search("text", text, text); else byId("text").focus();
  }

  searchPosition([lon, lat]) {
    const text = `${lon.toFixed(5)}, ${lat.toFixed(5)}`;
    byId("position").value = text;
    this.search("location", text, text);
  }

  /** Turns the photo upright and makes it small here; the server takes JPEG. */
  async searchPhoto(file) {
    let picture;
    try {
      picture = await createImageBitmap(file, { imageOrientation: "from-image" });
    } catch {
      this.fail("That picture cannot be read: choose a JPEG, PNG or WebP file.");
      return;
    }
    const scale = Math.min(1, SHORT_SIDE_PX / Math.min(picture.width, picture.height), MOST_SIDE_PX / Math.max(picture.width, picture.height));
    const canvas = make("canvas", { width: Math.max(1, Math.round(picture.width * scale)), height: Math.max(1, Math.round(picture.height * scale)) });
    const context = canvas.getContext("2d");
    context.fillStyle = "#ffffff";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.imageSmoothingQuality = "high";
    context.drawImage(picture, 0, 0, canvas.width, canvas.height);
    const body = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.95));
    this.search("street", body, file.name);
  }

  again() {
    if (this.last) this.search(...this.last);
  }

  /** Asks who is near, shows it, then asks for the map of the region. */
  async search(view, body, label, key = null) {
    const asked = ++this.asked;
    this.last = [view, body, label, key];
    byId("status").classList.remove("wrong");
    byId("status").textContent = "searching";
    const named = key ? `&key=${encodeURIComponent(key)}` : "";
    try {
      const answer = await ask(`search/${view}?target=${this.target}${named}`, key ? "" : body);
      if (asked !== this.asked) return;
      this.answer = answer;
      this.showQuery(view, body, label, key);
      this.showResults(answer);
      const heat = await ask(`data/heat?query=${answer.query}`);
      if (asked !== this.asked) return;
      this.map.heat = { ...heat, canvas: drawHeat(heat) };
      this.legend(heat);
      this.map.redraw();
      document.documentElement.dataset.shown = answer.query;
    } catch (error) {
      if (asked === this.asked) this.fail(error.message);
    }
  }

  fail(sentence) {
    byId("status").classList.add("wrong");
    byId("status").textContent = sentence;
  }

  showQuery(view, body, label, key) {
    if (this.shownUrl) URL.revokeObjectURL(this.shownUrl);
    this.shownUrl = body instanceof Blob ? URL.createObjectURL(body) : null;
    const source = this.shownUrl ?? (key && PICTURES.includes(view) ? picturePath(key, view) : null);
    byId("query").replaceChildren(...[
      source ? make("img", { src: source, alt: "The picture that searches" }) : null,
      make("div", {}, make("b", { textContent: VIEW_NAMES[view] }), " ", make("bdi", { dir: "auto", textContent: key ? `of ${key}` : label }))].filter(Boolean));
    byId("query").hidden = false;
  }

  showResults(answer) {
    const rank = answer.rank ? ` · the place itself is number ${count(answer.rank)}` : "";
    byId("status").textContent = `${VIEW_NAMES[answer.target]}: nearest of ${count(answer.searched)} places${rank}`;
    const scores = answer.cards.map((one) => one.similarity), low = Math.min(0, ...scores);
    byId("results").replaceChildren(...answer.cards.map((one, at) => this.resultCard(one, at + 1, low)));
    byId("results").scrollTop = 0;
    Object.assign(this.map, { results: answer.cards.map((one) => one.row), query: answer.lonlat });
    this.map.redraw();
  }

  resultCard(one, rank, low) {
    const meter = make("span", { className: "meter" });
    meter.style.width = `${(100 * (one.similarity - low)) / (1 - low)}%`;
    const shown = [...new Set([this.target, ...PICTURES])].filter((view) => PICTURES.includes(view) && one.views.includes(view)).slice(0, MOST_PICTURES);
    const pictures = shown.map((view) => make("img", { src: picturePath(one.key, view), alt: VIEW_NAMES[view], title: VIEW_NAMES[view], loading: "lazy", decoding: "async" }));
    const facts = [one.key, one.split, one.away_m === null ? "" : `${asDistance(one.away_m)} away`, one.is_own ? "the place itself" : ""].filter(Boolean).join(" · ");
    return make("li", { className: one.is_own ? "own" : "" }, make("button", { type: "button", onclick: () => this.open(one.key) },
      make("b", { className: "rank", textContent: rank }),
      pictures.length ? make("span", { className: "pictures" }, ...pictures) : null,
      make("span", { className: "score" }, make("span", { className: "track" }, meter), make("output", { textContent: one.similarity.toFixed(3) })),
      make("span", { className: "facts", textContent: facts }),
      one.text ? make("span", { className: "excerpt", dir: "auto", textContent: one.text }) : null));
  }

  legend(heat) {
    const entry = (className, textContent) => make("div", { className: "entry" }, make("i", { className }), make("span", { textContent }));
    byId("legend").replaceChildren(...(heat
      ? [make("div", { textContent: "Similarity of locations" }), ...heatRamp(heat), entry("ring", "nearest places"), ...(this.answer?.lonlat ? [entry("star-sign", "where the query is")] : [])]
      : [entry("dot", "place")]));
  }

  follow() {
    const key = new URLSearchParams(location.hash.slice(1)).get("cell");
    if (!key) { if (!byId("place").hidden) this.close(); return; }
    if (!this.rowOf.has(key)) this.fail("The page has no place of that link.");
    else if (key !== this.model.keys[this.map.chosen]) this.open(key);
  }

  async open(key) {
    const root = byId("place"), opened = ++this.opened;
    if (root.hidden) this.from = document.activeElement;
    this.map.chosen = this.rowOf.get(key);
    if (location.hash !== `#cell=${key}`) history.pushState(null, "", `#cell=${key}`);
    try {
      const place = await ask(`data/place/${key}`);
      if (opened !== this.opened) return;
      showPlace(root, place, this.model, this.answer, { close: () => this.close(), search: (view, of) => { this.close(); this.search(view, "", "", of); } });
    } catch (error) {
      if (opened !== this.opened) return;
      root.replaceChildren(make("p", { className: "blank", textContent: error.message }));
    }
    root.hidden = false;
    root.scrollTop = 0;
    root.focus({ preventScroll: true });
    this.map.resize();
    this.map.goTo(this.map.chosen);
    this.map.redraw();
  }

  close() {
    this.opened++;
    byId("place").hidden = true;
    byId("place").replaceChildren();
    this.map.chosen = -1;
    if (location.hash) history.pushState(null, "", location.pathname);
    (this.from?.isConnected && this.from !== document.body ? this.from : byId("points")).focus({ preventScroll: true });
    this.map.redraw();
  }
}

async function start() {
  followTheme(() => window.sameplace?.map.redraw());
  try {
    const page = new Page(await ask("data/model"));
    window.sameplace = page;
    page.map.setOutlines(await ask("data/outlines"));
    document.documentElement.dataset.ready = "true";
  } catch (error) {
    byId("status").textContent = `The page cannot be shown: ${error.message}`;
    throw error;
  }
}

start();
