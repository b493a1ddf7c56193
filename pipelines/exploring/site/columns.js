// The data of the page: scripts hand over strings, columns become arrays of numbers. Nothing here is shown.
"use strict";

const sameplace = {
  waiting: new Map(),
  /** Called by every file of data: a name, and JSON as a string, so that nothing in it is ever code. */
  put(name, text) {
    const value = JSON.parse(text);
    sameplace.waiting.get(name)?.(value);
    sameplace.waiting.delete(name);
  },
};

const VIEWS = ["sentinel2", "aerial", "dem", "street", "text"];
const ABSENT = { u1: 255, u2: 65535, i2: -32768 };
const ABSENT_CLOUD = 255;

/** Loads a script and gives what it hands over under a name. */
function load(path, name) {
  return new Promise((resolve, reject) => {
    const element = document.createElement("script");
    sameplace.waiting.set(name, resolve);
    element.src = path;
    element.onload = () => { element.remove(); if (sameplace.waiting.has(name)) reject(new Error(`${path} is empty`)); };
    element.onerror = () => { element.remove(); reject(new Error(`${path} is not there`)); };
    document.head.append(element);
  });
}

/** All places: one array a column, words by number. */
function readPlaces(packed) {
  const columns = {};
  for (const [name, column] of Object.entries(packed.columns)) columns[name] = unpack(column);
  const absent = {};
  for (const [name, [kind]] of Object.entries(packed.columns)) absent[name] = ABSENT[kind];
  return { number: packed.number, words: packed.words, countries: packed.countries, columns, absent };
}

/** The cell of a place, as 15 hexadecimal figures. */
function keyOf(places, row) {
  const { key_high, key_low } = places.columns;
  return key_high[row].toString(16) + key_low[row].toString(16).padStart(8, "0");
}

/** The row of a cell, -1 where there is none; rows are in the order of their cells. */
function rowOf(places, key) {
  if (!/^[0-9a-f]{9,16}$/.test(key)) return -1;
  const high = parseInt(key.slice(0, -8), 16), low = parseInt(key.slice(-8), 16);
  const { key_high, key_low } = places.columns;
  let first = 0, last = places.number - 1;
  while (first <= last) {
    const middle = (first + last) >> 1;
    const order = key_high[middle] - high || key_low[middle] - low;
    if (order === 0) return middle;
    if (order < 0) first = middle + 1; else last = middle - 1;
  }
  return -1;
}

const asDay = (days) => new Date(days * 864e5).toISOString().slice(0, 10);
const percent = (share) => `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;
