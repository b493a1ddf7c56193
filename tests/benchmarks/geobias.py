"""The Geo-Bias Score against the same formula written plainly, centre by centre.

    python -m tests.benchmarks.geobias [--rounds 5] [--places 2000]

Clustered places in Europe with hits and misses; each place has an unmarked and a marked score, and each of these is
wanted in both conventions, as in the measurement of the published code (about 550 scores/s on two cores, oracles.md).
"""

import argparse
import math
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import norm

from tests.benchmarks.alternate import alternate
from training.geobias import CONVENTIONS, Rule, scores

Floats = NDArray[np.float64]
CASES = ((63.71, 100), (318.55, 100))
"""Radius, km, and most places of a neighbourhood: 0.01 and 0.05 radian."""


def draw(places: int) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(0)
    centres = rng.uniform([-5, 40], [25, 58], (places // 16, 2))
    lonlat_N2 = centres[rng.integers(0, len(centres), places)] + rng.normal(0, 0.3, (places, 2))
    return lonlat_N2, np.where(rng.random(places) < 0.6, 1.0, -1.0)


def haversine(a_N2: Floats, b_N2: Floats) -> Floats:
    half = np.sin((b_N2 - a_N2) / 2) ** 2
    return 2 * np.arcsin(np.sqrt(half[..., 1] + np.cos(a_N2[..., 1]) * np.cos(b_N2[..., 1]) * half[..., 0]))


def lay_background(centre: Floats, count: int, radius: float) -> Floats:
    step = 1 / math.sqrt(math.ceil(5 * count / (math.pi * radius**2)))
    points = []
    for t in range(1, math.ceil(radius / step) + 1):
        azimuth = -math.pi + 2 * math.pi * np.arange(math.ceil(2 * math.pi * t)) / math.ceil(2 * math.pi * t)
        points.append(
            np.stack(
                [
                    np.sin(t * step) * np.cos(azimuth),
                    np.sin(t * step) * np.sin(azimuth),
                    np.full_like(azimuth, np.cos(t * step)),
                ],
                1,
            )
        )
    x, y, z = np.concatenate(points).T
    lon, tilt = centre[0], math.pi / 2 - centre[1]
    x, z = math.cos(tilt) * x + math.sin(tilt) * z, -math.sin(tilt) * x + math.cos(tilt) * z
    x, y = math.cos(lon) * x - math.sin(lon) * y, math.sin(lon) * x + math.cos(lon) * y
    return np.stack([np.arctan2(y, x), np.arcsin(z)], 1)


def moments(value_N: Floats) -> tuple[float, float]:
    kinds, counts = np.unique(value_N, return_counts=True)
    total, a, r = len(value_N), kinds - value_N.mean(), int(np.argmax(counts))
    mean = var = 0.0
    for i, n in enumerate(counts):
        for j, m in enumerate(counts):
            mean += a[i] * a[j] * (4 * n * m / total if i != j else 4 * n * (n - 1) / total - 1)
            if r in (i, j):
                continue
            if i == j:
                var += (kinds[i] - kinds[r]) ** 4 * 2 * (n - 1) * (4 * n / total) * (1 - 4 * (2 * n - 1) / (3 * total))
            else:
                share = 4 * max(n, m) / total
                var += (a[i] * a[j] - 2 * a[i] * a[r] + a[r] ** 2) ** 2 * min(n, m) * share * (1 - share)
    return mean, var


def plain(lonlat_deg: Floats, value_N: Floats, radius_km: float, most: int) -> Floats:
    lonlat_N2, radius = np.radians(lonlat_deg), radius_km / 6371.0088
    found = np.full((len(value_N), 4), np.nan)
    for i, centre in enumerate(lonlat_N2):
        away_N = haversine(centre, lonlat_N2)
        members = np.argsort(away_N, kind="stable")[:most]
        members = members[away_N[members] <= radius]
        points_P2 = np.concatenate([lonlat_N2[members], lay_background(centre, len(members), radius)])
        away_PP = haversine(points_P2[:, None], points_P2)
        np.fill_diagonal(away_PP, np.inf)
        neighbour_Pk = np.argpartition(away_PP, 4, axis=1)[:, :4]
        for kind, marks in enumerate((np.ones(len(members)), value_N[members])):
            values = np.concatenate([marks, np.zeros(len(points_P2) - len(members))])
            a = values - values.mean()
            upper = (a * a[neighbour_Pk].sum(1)).sum()
            mean, var = moments(values)
            if var > 0:
                found[i, kind] = -np.log(norm.pdf(upper, mean, math.sqrt(var)) + 1e-256)
                found[i, 2 + kind] = -np.log(
                    2 * norm.cdf(min(upper, 2 * mean - upper), mean, math.sqrt(var) + 1) + 1e-256
                )
    return found


def fast(lonlat_deg: Floats, value_N: Floats, radius_km: float, most: int) -> Floats:
    tables = [scores(lonlat_deg, value_N, Rule(radius_km, most, convention=c)) for c in CONVENTIONS]
    return np.stack([column for table in tables for column in (table.unmarked, table.marked)], 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--places", type=int, default=2000)
    options = parser.parse_args()
    lonlat_N2, value_N = draw(options.places)
    print(
        f"{options.places} places, 4 scores each; {torch.get_num_threads()} threads; medians of {options.rounds} rounds.\n"
    )
    print("| radius km | places around | way | time | scores/s | scores/s of processor | times as fast | within 1e-6 |")
    print("|---|---|---|---|---|---|---|---|")
    for radius_km, most in CASES:
        ways = {"plain": plain, "training.geobias": fast}
        answers = {way: run(lonlat_N2, value_N, radius_km, most) for way, run in ways.items()}
        apart = np.abs(answers["plain"] - answers["training.geobias"])[~np.isnan(answers["plain"])]
        around = scores(lonlat_N2, value_N, Rule(radius_km, most)).neighbours.mean()
        runs = {way: partial(run, lonlat_N2, value_N, radius_km, most) for way, run in ways.items()}
        times = alternate(runs, options.rounds)
        for way, took in times.items():
            rate, work = (4 * options.places / np.median(x) for x in (took.elapsed, took.work))
            ratio = times["plain"].over(took)[0]
            print(
                f"| {radius_km} | {around:.0f} | {way} | {took} | {rate:,.0f} | {work:,.0f} | {ratio:.1f} | {(apart < 1e-6).mean():.1%} |"
            )


if __name__ == "__main__":
    main()
