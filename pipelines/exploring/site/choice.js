// Which places are shown: the controls, and the mask they make. All conditions hold together.
"use strict";

/** What is chosen at the beginning: everything. */
function freshChoice(dateView) {
  return { splits: new Set([0, 1, 2]), views: 0, least: 1, country: "", licence: "", dateView, from: "", to: "", cloud: 100 };
}

/** Marks the places that fit, and returns how many. */
function applyChoice(places, choice, visible) {
  const { split, views, country, cloud } = places.columns;
  const days = places.columns[`${choice.dateView}_date`], absentDay = ABSENT.i2;
  const from = choice.from ? Date.parse(choice.from) / 864e5 : -Infinity, to = choice.to ? Date.parse(choice.to) / 864e5 : Infinity;
  const byDate = Boolean(choice.from || choice.to), byCloud = choice.cloud < 100, mostCloud = choice.cloud * 2;
  const wantedCountry = choice.country === "" ? -1 : Number(choice.country);
  const licence = choice.licence === "" ? -1 : Number(choice.licence), licences = VIEWS.map((view) => places.columns[`${view}_licence`]);
  const splits = [0, 1, 2].map((code) => choice.splits.has(code));
  let number = 0;
  for (let row = 0; row < places.number; row++) {
    let fits = splits[split[row]] && (views[row] & choice.views) === choice.views && (choice.least < 2 || viewCount(views[row]) >= choice.least);
    if (fits && wantedCountry >= 0) fits = country[row] === wantedCountry;
    if (fits && byCloud) fits = cloud[row] !== ABSENT_CLOUD && cloud[row] <= mostCloud;
    if (fits && byDate) fits = days[row] !== absentDay && days[row] >= from && days[row] <= to;
    if (fits && licence >= 0) fits = licences.some((codes) => codes[row] === licence);
    visible[row] = fits ? 1 : 0;
    number += visible[row];
  }
  return number;
}

/** Builds the controls; `changed` is called with what changed: the choice, or the colour. */
class ChoicePanel {
  constructor(root, places, changed) {
    Object.assign(this, { root, places, changed });
    const has = (view) => places.columns[`${view}_date`].some((day) => day !== ABSENT.i2);
    this.dated = VIEWS.filter(has);
    this.colour = "split";
    this.reset();
  }

  reset() {
    this.choice = freshChoice(this.dated[0] ?? "sentinel2");
    this.build();
  }

  get isFresh() {
    const { splits, views, least, country, licence, from, to, cloud } = this.choice;
    return splits.size === 3 && !views && least === 1 && !country && !licence && !from && !to && cloud === 100;
  }

  set(name, value) {
    this.choice[name] = value;
    this.changed("choice");
  }

  build() {
    const { places, choice } = this;
    const parts = [
      field("Colour by", this.colourSelect()),
      group("Split", "chips", ...places.words.split.map((word, code) => chip(word, true, (on) => {
        if (on) choice.splits.add(code); else choice.splits.delete(code);
        this.changed("choice");
      }))),
      group("With all of", "chips", ...VIEWS.map((view, bit) => chip(VIEW_NAMES[view], false, (on) => {
        this.set("views", on ? choice.views | (1 << bit) : choice.views & ~(1 << bit));
      }))),
      field("At least", select([1, 2, 3, 4, 5].map((number) => [number, viewsText(number)]), 1, (value) => this.set("least", Number(value)), "choice-least")),
    ];
    if (places.words.country.length)
      parts.push(field("Country", select([["", "all"], ...places.countries.map((name, code) => [code, name]), [ABSENT[places.words.country.length < 255 ? "u1" : "u2"], "none (at sea, or not known)"]], "", (value) => this.set("country", value), "choice-country")));
    if (places.words.licence.length)
      parts.push(field("A view under", select([["", "any licence"], ...places.words.licence.map((name, code) => [code, name || "not stated"])], "", (value) => this.set("licence", value), "choice-licence")));
    if (this.dated.length) parts.push(this.dateFields());
    if (places.columns.cloud.some((value) => value !== ABSENT_CLOUD)) parts.push(this.cloudField());
    this.root.replaceChildren(...parts);
  }

  colourSelect() {
    const element = make("select", { id: "choice-colour", onchange: () => { this.colour = element.value; this.changed("colour"); } });
    let heading = null;
    for (const [value, label, name] of colourChoices(this.places)) {
      if (heading?.label !== name) element.append((heading = make("optgroup", { label: name })));
      heading.append(make("option", { value, textContent: name === "Place" ? label : `${name.replace(" of", "")}: ${label}` }));
    }
    element.value = this.colour;
    return element;
  }

  dateFields() {
    const day = (name, label) => make("input", { type: "date", id: `choice-${name}`, ariaLabel: label, onchange: (event) => this.set(name, event.target.value) });
    const view = select(this.dated.map((name) => [name, VIEW_NAMES[name]]), this.choice.dateView, (value) => this.set("dateView", value), "choice-dated");
    view.ariaLabel = "View whose date counts";
    return group("Taken between", "dates", view, day("from", "From"), day("to", "To"));
  }

  cloudField() {
    const told = make("output", { textContent: "any" });
    const slider = make("input", {
      type: "range", id: "choice-cloud", min: 0, max: 100, step: 1, value: 100,
      oninput: () => { told.textContent = slider.value === "100" ? "any" : `${slider.value} %`; this.set("cloud", Number(slider.value)); },
    });
    return field("Cloud at most", slider, told);
  }
}

function field(label, control, ...more) {
  return make("div", { className: "field" }, make("label", { textContent: label, htmlFor: control.id }), control, ...more);
}

function group(label, kind, ...children) {
  return make("fieldset", {}, make("legend", { textContent: label }), make("div", { className: kind }, ...children));
}

function chip(label, checked, act) {
  const box = make("input", { type: "checkbox", checked, onchange: () => act(box.checked) });
  return make("label", { className: "chip" }, box, make("span", { textContent: label }));
}

function select(options, value, act, id) {
  const element = make("select", { id, onchange: () => act(element.value) });
  element.append(...options.map(([code, text]) => make("option", { value: code, textContent: text })));
  element.value = value;
  return element;
}
