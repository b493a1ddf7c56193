"""Files that are there whole or not at all."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def draft_of(path: Path) -> Iterator[Path]:
    """Gives a file to write that takes the name of `path` at the end, and goes if there is an error; makes the folder.

    Raises:
        OSError: if it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def write_json(path: Path, record: Mapping[str, object]) -> None:
    """Writes plain values as JSON."""
    with draft_of(path) as draft:
        draft.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
