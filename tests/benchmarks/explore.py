"""The corpus page with 100,000 places in headless Chromium: how long until it shows them, and until a filter has acted.

    python -m tests.benchmarks.explore [--places 100000] [--rounds 7]

Columns are generated, not read; the page is opened from disk. First view: from the start of the navigation to the first
frame with points. A filter: from the change of the control to the frame that shows it, with totals and histograms open.
A frame: from one to the next while the map moves and grows, 16.7 ms at best. Prints Markdown for BENCHMARKS.md.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa

from geodata import cells
from geodata.regions import find_region
from pipelines.exploring.facts import FACTS
from pipelines.exploring.site import fixed_files, made_files
from schemas.modality import MODALITIES
from tests.browser import Browser, find_chromium, open_browser

SUMMARY: dict[str, object] = {
    "name": "generated", "synthetic": True, "bytes": 0, "shards": 0, "options": {}, "exclusion_m": 0, "credits": {},
    "observations": dict.fromkeys(MODALITIES), "more_credits": {}, "drops": [],
}  # fmt: skip
FILTERS = {
    "split": "document.querySelector('#choice .chip input').click()",
    "at least 4 views": "set('choice-least', '4')",
    "country": "set('choice-country', '1')",
    "dates": "set('choice-from', '2022-01-01')",
    "cloud": "set('choice-cloud', '10')",
    "colour by elevation": "set('choice-colour', 'elevation')",
}
SET = "const set = (id, value) => { const e = document.getElementById(id); e.value = value; e.dispatchEvent(new Event('input')); e.dispatchEvent(new Event('change')); };"
MOVE = """
const done = arguments[0], map = sameplace.page.map, times = [];
let before = 0;
const step = (now) => {
  if (before) times.push(now - before);
  before = now;
  if (times.length === 40) { done(times); return; }
  map.look(map.view.x + 10 / map.view.scale, map.view.y, map.view.scale * 1.02);
  requestAnimationFrame(step);
};
requestAnimationFrame(step);
"""
FRAME = "requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - start)))"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--places", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    if find_chromium() is None:
        parser.error("chromium and chromedriver are not there: apt-get install chromium chromium-driver")
    with tempfile.TemporaryDirectory() as scratch:
        _write(Path(scratch, "site"), options.places)
        with open_browser(str(Path(scratch, "profile"))) as browser:
            browser.size(1440, 900)
            _report(browser, Path(scratch, "site/index.html").as_uri(), options.rounds)


def _write(folder: Path, number: int) -> None:
    places, facts = _generate(number)
    for path, payload in {**fixed_files(), **made_files(SUMMARY, places, facts)}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(payload)


def _generate(number: int) -> tuple[pa.Table, pa.Table]:
    """Returns places uniform on land, and facts without meaning."""
    rng = np.random.default_rng(0)
    keys = _draw_cells(rng, number)
    lonlat = cells.centres(keys)
    places = pa.table(
        {
            "key": [cells.to_key(cell) for cell in keys.tolist()], "lon": lonlat[:, 0], "lat": lonlat[:, 1],
            "split": rng.choice(["train", "val", "test"], number, p=(0.9, 0.03, 0.07)),
            "country": rng.choice(["FR", "DE", "BR", "US", "CN", "AU", "NG", "IN"], number),
            "modalities": [[name for name, has in zip(MODALITIES, row, strict=True) if has]
                           for row in (rng.random((number, 5)) < (0.8, 0.8, 1, 0.8, 0.8)).tolist()],
        }
    )  # fmt: skip
    columns: dict[str, object] = {
        "key": places["key"], "cloud": rng.random(number, dtype=np.float32) ** 3,
        "elevation": rng.gamma(2, 300, number).astype(np.float32),
    }  # fmt: skip
    for name in MODALITIES:
        columns[f"{name}_source"] = rng.choice(["planetary-computer", "mapillary", "wikipedia"], number)
        columns[f"{name}_licence"] = rng.choice(["CC-BY-SA-4.0", "CC0-1.0", "CC-BY-4.0"], number)
        columns[f"{name}_date"] = pa.array(rng.integers(18000, 20000, number).astype(np.int32), pa.date32())
    return places, pa.table(columns, schema=FACTS)


def _draw_cells(rng: np.random.Generator, number: int) -> cells.Cells:
    """Returns cells uniform on land, sorted."""
    lon, sine = rng.uniform(-180, 180, 5 * number), rng.uniform(-1, 1, 5 * number)
    lat = np.degrees(np.arcsin(sine))
    on_land = find_region("world").contains_land(lon, lat)
    found = np.unique(cells.cells_at(np.stack([lon[on_land], lat[on_land]], axis=-1), 10))
    return np.sort(rng.choice(found, min(number, len(found)), replace=False))


def _report(browser: Browser, address: str, rounds: int) -> None:
    first, sums = [], {name: [] for name in FILTERS}
    frames = []
    for _ in range(rounds):
        browser.open(address)
        first.append(browser.ask("performance.getEntriesByName('drawn')[0].startTime"))
        browser.act("document.getElementById('tab-numbers').click()")
        for name, code in FILTERS.items():
            act = f"const done = arguments[0]; {SET} const start = performance.now(); {code}; {FRAME}"
            sums[name].append(browser.driver.execute_async_script(act))
            browser.act("document.getElementById('reset').click()")
        frames += browser.driver.execute_async_script(MOVE)
    places = browser.ask("sameplace.page.places.number")
    print(f"{places} places, {rounds} rounds, {browser.driver.capabilities['browserVersion']} without a GPU\n")
    print("| | ms (median) | min ... max |\n| --- | --- | --- |")
    rows = {
        "first view": first,
        **{f"filter: {name}": times for name, times in sums.items()},
        "a frame of a moving map": frames,
    }
    for name, times in rows.items():
        print(f"| {name} | {statistics.median(times):.0f} | {min(times):.0f} ... {max(times):.0f} |")


if __name__ == "__main__":
    main()
