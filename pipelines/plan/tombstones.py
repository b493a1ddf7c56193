"""What was taken out of a corpus and must not come back: cells, photos, articles.

`tombstones.txt` has one identifier a line: an H3 cell, or the identifier of a photo or article as records name it.
Lines that begin with # are remarks.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from pipelines.files import storage

TOMBSTONES = "tombstones.txt"


def read_tombstones(output: str) -> frozenset[str]:
    """Returns the identifiers of what was taken out of a corpus; none where nothing was."""
    path = storage.join(output, TOMBSTONES)
    return frozenset(parse_ids(storage.read_bytes(path).decode())) if storage.exists(path) else frozenset()


def write_tombstones(output: str, ids: Iterable[str]) -> None:
    """Writes the identifiers of all that was ever taken out of a corpus."""
    head = "# Taken out of this corpus; kept so that it does not come back. One identifier a line.\n"
    text = head + "".join(f"{name}\n" for name in sorted(ids))
    storage.write_bytes(storage.join(output, TOMBSTONES), text.encode())


def read_ids(path: str) -> list[str]:
    """Reads the identifiers in a file.

    Raises:
        ValueError: if there is no such file, or none in it.
    """
    try:
        found = parse_ids(Path(path).read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"--ids {path} cannot be read ({error}): give a text file, one identifier a line.") from error
    if not found:
        raise ValueError(f"--ids {path} names nothing: write one H3 cell, photo or article identifier a line.")
    return found


def parse_ids(text: str) -> list[str]:
    """Returns the identifiers in a text, each once; cells are written in small letters."""
    lines = (line.strip() for line in text.splitlines())
    names = (line for line in lines if line and not line.startswith("#"))
    return list(dict.fromkeys(name.lower() if re.fullmatch("[0-9A-Fa-f]{15}", name) else name for name in names))
