"""Tables as the page reads them: columns of numbers in base64, words once, all in scripts.

A page opened from disk may not fetch files, but it may load scripts; so every file of data is one call with a string.
"""

import json
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from geodata.regions import list_countries
from schemas.modality import MODALITIES
from schemas.page.pack import pack_numbers
from schemas.reference import SPLITS

ABSENT_DAY = ABSENT_HEIGHT = -32768
ABSENT_CLOUD = 255
CLOUD_STEPS = 200
"""Cloud is told in halves of a per cent."""


def script(name: str, value: object) -> bytes:
    """Returns a script that hands a value to the page; what is in it is never taken for code."""
    text = json.dumps(json.dumps(value, allow_nan=False, separators=(",", ":")))
    return f"sameplace.put({json.dumps(name)}, {text});\n".encode()


def pack_places(places: pa.Table, facts: pa.Table) -> dict[str, Any]:
    """Returns the columns of all places.

    Args:
        places: columns of the index.
        facts: what `read_facts` returns, in the same order.
    """
    number = places.num_rows
    cells = np.array([int(key, 16) for key in places["key"].to_pylist()], dtype=np.uint64)
    codes = {name: places[name].combine_chunks() for name in ("split", "country")}
    words = {"split": list(SPLITS), "views": list(MODALITIES)}
    columns = {
        "key_high": pack_numbers(cells >> np.uint64(32), "u4"),
        "key_low": pack_numbers(cells & np.uint64(0xFFFFFFFF), "u4"),
        "lon": pack_numbers(_numbers(places["lon"]), "f4"), "lat": pack_numbers(_numbers(places["lat"]), "f4"),
        "views": pack_numbers(_view_bits(places["modalities"], number), "u1"),
        "cloud": pack_numbers(_filled(facts["cloud"], CLOUD_STEPS, ABSENT_CLOUD, ABSENT_CLOUD - 1), "u1"),
        "elevation": pack_numbers(_filled(facts["elevation"], 1, ABSENT_HEIGHT, 32767), "i2"),
    }  # fmt: skip
    columns["split"] = _encode(codes["split"], words["split"])
    words["country"] = _words([codes["country"]])
    columns["country"] = _encode(codes["country"], words["country"])
    for what in ("source", "licence"):
        words[what] = _words([facts[f"{name}_{what}"] for name in MODALITIES])
        for name in MODALITIES:
            columns[f"{name}_{what}"] = _encode(facts[f"{name}_{what}"], words[what])
    for name in MODALITIES:
        days = facts[f"{name}_date"].cast(pa.int32())
        columns[f"{name}_date"] = pack_numbers(_filled(days, 1, ABSENT_DAY, 32767), "i2")
    names = {code: name for name, code, _ in list_countries()}
    return {
        "number": number, "words": words, "columns": columns,
        "countries": [names.get(code, code) for code in words["country"]],
    }  # fmt: skip


def _numbers(column: pa.ChunkedArray) -> NDArray[Any]:
    return np.asarray(column.to_numpy())


def _filled(column: pa.ChunkedArray, scale: float, absent: int, most: int) -> NDArray[np.float64]:
    values = np.asarray(pc.fill_null(column.cast(pa.float64()), float("nan")).to_numpy())
    steps = np.clip(np.round(values * scale), -most, most)
    return np.where(np.isnan(steps), absent, steps)


def _view_bits(modalities: pa.ChunkedArray, number: int) -> NDArray[np.uint8]:
    """Returns a number of five bits for each place, the first view of `MODALITIES` the lowest."""
    lists = modalities.combine_chunks()
    rows, names = pc.list_parent_indices(lists).to_numpy(), pc.list_flatten(lists)
    bits = np.zeros(number, dtype=np.uint8)
    for position, name in enumerate(MODALITIES):
        np.bitwise_or.at(bits, rows[pc.equal(names, name).to_numpy(zero_copy_only=False)], np.uint8(1 << position))
    return bits


def _words(columns: list[Any]) -> list[str]:
    """Returns the different words, the frequent ones first."""
    counts: Counter[str] = Counter()
    for column in columns:
        for entry in pc.value_counts(column).to_pylist():
            if entry["values"] is not None:
                counts[entry["values"]] += entry["counts"]
    return [word for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]


def _encode(column: Any, words: list[str]) -> list[str]:
    """Returns the numbers of words; the greatest number stands for none."""
    kind = "u1" if len(words) < 255 else "u2"
    found = pc.index_in(column, value_set=pa.array(words, pa.string()))
    return pack_numbers(np.asarray(pc.fill_null(found, np.iinfo(kind).max).to_numpy()), kind)
