"""Measurements that lie in files of their own, so that a report that was cut short goes on where it ended."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from training.files import write_json


def name_file(folder: Path, label: str, seed: int) -> Path:
    """Returns the file of what a label names in words, with one seed."""
    return folder / f"{label.replace(',', '').replace(' ', '_')}_{seed}.json"


def keep(path: Path, setting: Mapping[str, object], measure: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    """Returns what is kept in a file; where that is nothing, or of another setting, measures and keeps it.

    Args:
        setting: all that the measurement depends on, as plain values and lists.
        measure: returns plain values.
    """
    if path.exists():
        kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if kept["setting"] == setting:
            found: dict[str, Any] = kept["found"]
            return found
    found = dict(measure())
    write_json(path, {"setting": dict(setting), "found": found})
    return found
