"""Raw answers on disk, so that a second run asks nothing again."""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path


class AnswerCache:
    """A folder of answers by the hash of their request; processes may share one."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)

    def read(self, key: str) -> tuple[int, dict[str, str], bytes] | None:
        """Returns status, headers and body of a kept answer; None where there is none."""
        try:
            head, _, body = self._path(key).read_bytes().partition(b"\n")
        except FileNotFoundError:
            return None
        try:
            record = json.loads(head)
            is_whole = record["key"] == key and record["size"] == len(body)
        except (ValueError, KeyError):
            return None
        return (record["status"], record["headers"], body) if is_whole else None

    def write(self, key: str, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Keeps an answer: written under a temporary name and renamed."""
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = {name: value for name, value in headers.items() if name == "content-type"}
        record = {"key": key, "status": status, "headers": kind, "size": len(body)}
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(json.dumps(record, sort_keys=True).encode() + b"\n" + body)
        os.replace(file.name, path)

    def _path(self, key: str) -> Path:
        name = hashlib.sha256(key.encode()).hexdigest()
        return self._folder / name[:2] / name[2:]
