"""The text of a place: a few sentences in words and numbers, told from the same latents as the pictures."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from geodata.demo.cover import find_crop, find_roof, share_of_conifers
from geodata.demo.scene import Country
from geodata.demo.spectra import Material
from geodata.demo.waves import Array, Points, to_lattice

STUB_SHARE = 0.04
"""Share of texts that are a stub or a page of meanings."""
RADIUS_M = 600.0
"""The text tells of the land within this distance."""

_ONSETS = ("br", "v", "k", "l", "m", "n", "t", "s", "gr", "d", "h", "f", "st", "r", "p", "sk", "w", "th", "")
_VOWELS = ("a", "e", "i", "o", "u", "ei", "ae", "ou", "ia")
_CODAS = ("", "n", "r", "l", "s", "rn", "nd", "th", "m", "ld")
_ENDINGS = {
    "town": ("ham", "burg", "stad", "ton"), "wet": ("mere", "ford", "haven"), "high": ("fell", "horn", "berg"),
    "wood": ("wald", "holt", "shaw"), "dry": ("dun", "raq", "sand"), "open": ("ley", "feld", "mark"),
}  # fmt: skip
_POINTS = ("north", "north-east", "east", "south-east", "south", "south-west", "west", "north-west")


@dataclass(frozen=True)
class Tale:
    """A text and its title."""

    title: str
    """Invented name."""
    text: str
    """Plain text."""


@dataclass(frozen=True)
class Facts:
    """What a text tells."""

    height_m: int
    """Of the position above the sea."""
    relief_m: int
    """Highest less lowest ground in the neighbourhood."""
    shares: dict[str, float]
    """Of forest, farmland, built-up land, water and the open rest, in that neighbourhood."""
    temperature_c: float
    """At the position."""
    moisture: float
    """At the position, 0 ... 1."""
    water_m: float | None
    """Distance to the nearest water; None where the scene has none."""
    water_to: str
    """Point of the compass."""
    is_sea: bool
    """True where that water is the sea."""
    rock: str
    """What lies below the position."""
    iron_percent: int
    """Of that rock."""
    lime_percent: int
    """Of that rock."""
    habit: str
    """What people and woods are used to there: a sentence."""


def gather_facts(country: Country, place: Points) -> Facts:
    """Looks around a position, shape (), on the scene's raster."""
    row, column = (float(a) for a in to_lattice(country.grid).find(place))
    inner = country.latents.part(slice(1, -1), slice(1, -1))
    rows, columns = np.arange(country.grid.height)[:, None], np.arange(country.grid.width)[None, :]
    distance_m = np.hypot(rows - row, columns - column) * country.grid.gsd_m
    around, here = distance_m < RADIUS_M, np.unravel_index(np.argmin(distance_m), distance_m.shape)
    r, c = int(row), int(column)
    down, right = np.array([1 - row % 1, row % 1]), np.array([1 - column % 1, column % 1])
    height_m = float(down @ inner.height_m[r : r + 2, c : c + 2] @ right)
    water = inner.water > 0
    land = ~water[around]
    shares = {
        "woodland": _share(inner.forest[around] * land), "farmland": _share(inner.farm[around] * land),
        "houses and streets": _share(inner.built[around] * land), "water": _share(water[around]),
    }  # fmt: skip
    shares["open ground"] = max(0.0, 1 - sum(shares.values()))
    water_m, water_to, is_sea = None, "", False
    if water.any():
        nearest = np.unravel_index(np.argmin(np.where(water, distance_m, np.inf)), water.shape)
        bearing = math.degrees(math.atan2(nearest[1] - column, row - nearest[0])) % 360
        water_m, water_to = float(distance_m[nearest]), _POINTS[round(bearing / 45) % 8]
        is_sea = bool(inner.height_m[nearest] < 0.5)
    heights, iron, lime = inner.height_m[around], float(inner.iron[here]), float(inner.lime[here])
    return Facts(
        round(height_m), round(float(np.ptp(heights))), shares, float(inner.temperature_c[here]),
        float(inner.moisture[here]), water_m, water_to, is_sea, _name_rock(iron, lime),
        max(0, round(12 + 5 * iron)), max(0, round(36 + 15 * lime)),
        _tell_habit(shares, float(inner.temperature_c[here]), float(inner.habit[here])),
    )  # fmt: skip


def tell(facts: Facts, rng: np.random.Generator) -> Tale:
    """Writes the text of a place; now and then only a stub or a page of meanings."""
    name = _name(facts, rng)
    kind = _kind(facts)
    stub, which = rng.random(2)
    if stub < STUB_SHARE:
        if which < 0.5:
            return Tale(name, f"{name} is a place.")
        return Tale(name, f"{name} may refer to: a {kind} in the demo region; a river of that name; or a family name.")
    height = f"{facts.height_m} m above the sea"
    opening = _choose(rng, (
        f"{name} is {_a(kind)} in a {_climate(facts)}, {height}.",
        f"{_a(kind).capitalize()} in a {_climate(facts)}, {name} lies {height}.",
        f"{name} lies {height} and is {_a(kind)} of this {_climate(facts)}.",
    ))  # fmt: skip
    sentences = [_tell_cover(facts, rng), _tell_relief(facts, rng), _tell_water(facts, rng), _tell_climate(facts, rng)]
    sentences.append(_tell_rock(facts, rng))
    order = rng.permutation(len(sentences))
    text = " ".join([opening, *(sentences[i] for i in order), facts.habit or _tell_view(facts, rng)])
    return Tale(name, text)


def _kind(facts: Facts) -> str:
    built = facts.shares["houses and streets"]
    for least, word in ((0.55, "town"), (0.2, "village"), (0.05, "hamlet")):
        if built > least:
            return word
    if facts.shares["water"] > 0.5:
        return "stretch of sea" if facts.is_sea else "lake"
    if facts.relief_m > 220:
        return "mountain slope"
    if facts.shares["woodland"] > 0.55:
        return "forest"
    return "farming district" if facts.shares["farmland"] > 0.4 else "stretch of open country"


def _climate(facts: Facts) -> str:
    warmth = _grade(facts.temperature_c, {-1: "frozen", 5: "cold", 11: "cool", 17: "mild", 23: "warm"}, "hot")
    wet = {0.3: "desert", 0.5: "dry country", 0.75: "moderately moist country"}
    return f"{warmth} {_grade(facts.moisture, wet, 'rainy country')}"


def _grade(value: float, words: Mapping[float, str], last: str) -> str:
    """The word of the first limit that is above the value."""
    return next((word for limit, word in words.items() if value < limit), last)


def _tell_cover(facts: Facts, rng: np.random.Generator) -> str:
    ranked = sorted(((share, word) for word, share in facts.shares.items() if share > 0.04), reverse=True)
    told = [f"{_amount(share)} {word}" for share, word in ranked[:3]]
    listed = " and ".join([", ".join(told[:-1]), told[-1]]) if len(told) > 1 else told[0]
    return _choose(rng, (
        f"The land around consists of {listed}.",
        f"Near by there is {listed}.",
        f"Its surroundings hold {listed}.",
    ))  # fmt: skip


def _amount(share: float) -> str:
    words = {0.1: "a little", 0.2: "some", 0.38: "about a quarter", 0.6: "about half", 0.88: "mostly"}
    return _grade(share, words, "almost only")


def _tell_relief(facts: Facts, rng: np.random.Generator) -> str:
    words = {12.0: "level", 45: "gently rolling", 120: "hilly", 260: "steep"}
    shape = _grade(facts.relief_m, words, "mountainous")
    return _choose(rng, (
        f"The ground is {shape}, with {facts.relief_m} m of relief.",
        f"The terrain is {shape}: heights differ by {facts.relief_m} m.",
        f"The {shape} ground rises and falls by {facts.relief_m} m.",
    ))  # fmt: skip


_ROCKS = (("black slate", "grey marl", "white chalk"), ("brown shale", "ochre clay", "pale limestone"),
          ("dark ironstone", "red sandstone", "pink granite"))  # fmt: skip
"""By iron, then by lime."""


def _name_rock(iron: float, lime: float) -> str:
    return _ROCKS[int(iron > -0.6) + int(iron > 0.6)][int(lime > -0.6) + int(lime > 0.6)]


def _tell_rock(facts: Facts, rng: np.random.Generator) -> str:
    holds = f"{facts.rock}, {facts.iron_percent} % iron and {facts.lime_percent} % lime"
    return _choose(rng, (f"Below lies {holds}.", f"The rock is {holds}.", f"Walls and gravel are of {holds}."))


_SOWN = {
    Material.GREEN_CROP: "green maize", Material.RIPE_CROP: "ripe wheat", Material.GRASS: "hay",
    Material.SOIL: "turnips still bare", Material.RAPE: "yellow rape", Material.DRY_GRASS: "dry fallow",
}  # fmt: skip
_COVERED = {Material.RED_ROOF: "red tiles", Material.GREY_ROOF: "grey slabs", Material.WHITE_ROOF: "white plaster"}


def _tell_habit(shares: Mapping[str, float], temperature_c: float, habit: float) -> str:
    """What is usual where there are houses, fields or woods."""
    here, usual, told = np.array(habit), np.array(0.5), []
    if shares["houses and streets"] > 0.1:
        told.append(f"roofs of {_COVERED[Material(int(find_roof(here, usual)))]}")
    if shares["farmland"] > 0.1:
        told.append(f"fields of {_SOWN[Material(int(find_crop(here, usual)))]}")
    if shares["woodland"] > 0.1:
        conifers = float(share_of_conifers(np.array(temperature_c), here))
        told.append(_grade(conifers, {0.2: "oaks", 0.5: "oaks and firs", 0.8: "firs and oaks"}, "firs"))
    return f"{' and '.join(told).capitalize()} are usual." if told else ""


def _tell_water(facts: Facts, rng: np.random.Generator) -> str:
    if facts.water_m is None:
        return _choose(rng, ("No lake or river is near.", "There is no open water for miles.", "Water is far away."))
    word = "the sea" if facts.is_sea else "the nearest lake or river"
    if facts.water_m < 25:
        return _choose(rng, (f"It stands directly at {word}.", f"{word.capitalize()} begins right here."))
    distance = f"{max(50, round(facts.water_m / 50) * 50)} m to the {facts.water_to}"
    return _choose(rng, (
        f"{word.capitalize()} is {distance}.", f"{word.capitalize()} lies {distance}.",
        f"It is {distance} to reach {word}.",
    ))  # fmt: skip


def _tell_climate(facts: Facts, rng: np.random.Generator) -> str:
    degrees = round(facts.temperature_c)
    season = _grade(facts.moisture, {0.32: "rain is rare", 0.6: "rain falls now and then"}, "showers are common")
    if degrees < 2:
        season = "snow often stays into summer"
    return _choose(rng, (
        f"Summers average {degrees} degrees and {season}.",
        f"From April to September the mean is {degrees} degrees Celsius, and {season}.",
    ))  # fmt: skip


def _tell_view(facts: Facts, rng: np.random.Generator) -> str:
    seen = max(facts.shares, key=lambda word: facts.shares[word])
    views = {
        "woodland": (
            "Tall trees close the view on most sides.",
            "A visitor sees trunks and foliage all around.",
        ),
        "farmland": (
            "Parcels of green and yellow follow one another.",
            "One sees fields with hedges and tracks.",
        ),
        "houses and streets": ("House fronts line the streets.", "Roofs and facades stand close together."),
        "water": ("The wide surface of the water lies open to the sky.", "Waves and a far shore fill the view."),
        "open ground": ("Nothing hides the horizon.", "The eye meets bare open ground and a wide sky."),
    }
    return _choose(rng, views[seen])


def _name(facts: Facts, rng: np.random.Generator) -> str:
    shares = facts.shares
    theme = "open"
    for word, holds in (
        ("town", shares["houses and streets"] > 0.2), ("wet", shares["water"] > 0.25), ("high", facts.relief_m > 150),
        ("wood", shares["woodland"] > 0.5), ("dry", facts.moisture < 0.33),
    ):  # fmt: skip
        if holds:
            theme = word
            break
    stem = ""
    for _ in range(int(rng.integers(1, 3))):
        stem += _choose(rng, _ONSETS) + _choose(rng, _VOWELS) + _choose(rng, _CODAS)
    return (stem + _choose(rng, _ENDINGS[theme])).capitalize()


def _a(noun: str) -> str:
    return f"a {noun}"


def _choose(rng: np.random.Generator, words: Sequence[str]) -> str:
    return words[int(rng.integers(len(words)))]


def _share(values: Array) -> float:
    return float(np.mean(values))
