"""How many requests a live sample costs: 1,000 places in some ten units of Luxembourg, all services on loopback.

Prints what each service was asked, a sample and in all, and the plan's own estimate beside it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

from geodata.sources.live import TOKEN
from tests.runs import ROOT, read_plan_table
from tests.services.luxembourg import Luxembourg, make_articles, make_shots
from tests.services.mapillary import TOKEN as SECRET
from tests.services.stac import missing
from tests.services.world import TAKES, World, scatter, time_of

REGION = "5.82,49.56,6.32,49.96"
HALF_M = 24_000.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--cells_per_unit", type=int, default=100)
    options = parser.parse_args()
    if why := missing():
        print(f"skipped: {why}")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        services = _start(Path(folder))
        try:
            _measure(services, Path(folder) / "corpus", options.samples, options.cells_per_unit)
        finally:
            services.close()
    return 0


def _start(folder: Path) -> Luxembourg:
    kinds = make_shots(8)
    shots = [
        replace(
            kinds[number % len(kinds)], id=str(10**15 + number), lon=lon, lat=lat, computed=(lon, lat),
            captured_at=time_of(number % 300), sequence=f"run{int(lon * 100)}-{int(lat * 100)}",
        )
        for number, (lon, lat) in enumerate(scatter(16_000, seed=3, half_m=HALF_M))
    ]  # fmt: skip
    article = make_articles(1)[0]
    articles = [
        replace(article, page_id=10_000 + number, title=f"Lieu {number}", lon=lon, lat=lat)
        for number, (lon, lat) in enumerate(scatter(3_000, seed=4, half_m=HALF_M))
    ]
    world = World(folder / "blobs", half_m=HALF_M + 1500, takes=TAKES[:1])
    return Luxembourg(folder, world=world, shots=shots, articles=articles)


def _measure(services: Luxembourg, output: Path, samples: int, cells_per_unit: int) -> None:
    command = [
        sys.executable, "-m", "pipelines.build_shards", "--region", REGION, "--output", str(output), "--contact",
        "me@example.org", "--samples", str(samples), "--cells_per_unit", str(cells_per_unit), *services.arguments(),
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT), TOKEN: SECRET}
    start = time.monotonic()
    said = subprocess.run(
        [*command, "--dry_run"], check=True, cwd=ROOT, env=environment, capture_output=True, text=True
    )
    planned_s, planning = time.monotonic() - start, count_requests(services)
    print(said.stderr[said.stderr.index("plan: ") :])
    services.forget()
    start = time.monotonic()
    subprocess.run(command, check=True, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    built_s, reading = time.monotonic() - start, count_requests(services)
    _report(services, output, planning, reading, planned_s, built_s)


def _report(
    services: Luxembourg, output: Path, planning: Counter[str], reading: Counter[str], planned_s: float, built_s: float
) -> None:
    plan = json.loads((output / "plan" / "plan.json").read_text())
    manifest = json.loads((output / "manifest.json").read_text())
    places = read_plan_table(output, "places")
    number, units = places.num_rows, len(set(places["unit"].to_pylist()))
    views = {
        name: sum(split.get(name, 0) for split in manifest["counts"].values()) for name in manifest["observations"]
    }
    print(
        f"{number} places in {units} units ({number / units:.0f} a unit), {len(plan['shards'])} shards; views {views}"
    )
    print(f"planned in {planned_s:.0f} s, built in {built_s:.0f} s ({number / built_s:.0f} samples/s)\n")
    print("| request | planning and pilot | reading | a sample |\n| --- | --- | --- | --- |")
    for kind in sorted(planning | reading):
        print(f"| {kind} | {planning[kind]} | {reading[kind]} | {reading[kind] / number:.3f} |")
    print("\n| service | requests estimated | sent | ratio | bytes estimated | sent | ratio |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for row in compare(services, plan["estimate"]):
        print(
            f"| {row[0]} | {row[1]} | {row[2]} | {row[1] / row[2]:.2f} | {row[3]} | {row[4]} | {row[3] / row[4]:.2f} |"
        )
    size = sum(shard["bytes"] for shard in manifest["shards"])
    print(f"| output | | | | {plan['estimate']['bytes']} | {size} | {plan['estimate']['bytes'] / size:.2f} |")
    blocks = reading["blob range"] / max(1, 13 * views["sentinel2"] + views["dem"])
    print(
        f"\nrange requests a band window: {blocks:.2f}; headers a file and shard: {_headers(services, len(plan['shards'])):.2f}"
    )


def compare(services: Luxembourg, estimate: dict) -> list[tuple[str, int, int, int, int]]:
    """Returns service, requests estimated and received, bytes estimated and sent, by servers since they were cleared."""
    of_server = {name: (name, "mapillary_tiles") if name == "mapillary" else (name,) for name in services.servers()}
    rows = []
    for name, server in services.servers().items():
        expected = [estimate["services"][one] for one in of_server[name] if one in estimate["services"]]
        requests, size = (sum(row[what] for row in expected) for what in ("requests", "bytes"))
        rows.append((name, requests, len(server.requests), size, server.sent_bytes))
    return rows


def _headers(services: Luxembourg, shards: int) -> float:
    """Most header reads of any file, divided by the number of shards."""
    return max(sum(r.startswith("bytes=0-") for r in ranges) for ranges in services.blobs.ranges.values()) / shards


def count_requests(services: Luxembourg) -> Counter[str]:
    counts: Counter[str] = Counter()
    for name, server in services.servers().items():
        for request in server.requests:
            counts[f"{name} {_kind(name, request)}".strip()] += 1
    return counts


def _kind(service: str, request) -> str:
    if service == "blob":
        wanted = request.headers.get("range", "")
        return "size" if request.method == "HEAD" else "header" if wanted.startswith("bytes=0-") else "range"
    if service == "mapillary":
        if "/vtp/" not in request.path:
            return "records" if "geometry" in request.query.get("fields", "") else "links"
        return f"tile z{request.path.split('/')[-3]}"
    if service == "wikipedia":
        return "search" if "list" in request.query else str(request.query.get("prop", "")).partition("|")[0]
    return "search" if request.path == "/search" else ""


if __name__ == "__main__":
    sys.exit(main())
