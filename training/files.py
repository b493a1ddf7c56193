"""Files that are there whole or not at all."""

import json
from collections.abc import Mapping
from pathlib import Path


def write_json(path: Path, record: Mapping[str, object]) -> None:
    """Writes plain values as JSON; makes the folder where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    draft.replace(path)
