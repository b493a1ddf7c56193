"""Rows of a MySQL dump, read as a stream: which column is which, the dump itself says in its CREATE TABLE.

Knows the text that mysqldump and mariadb-dump write, with all rows in one line or each in its own; runs no SQL.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from geodata.wikipedia.stream import DumpError, read_chunks

MAX_ROW_BYTES = 8 << 20
"""What is longer without an end is no row; the longest value in Wikipedia's tables is a blob of 64 KiB."""

_VALUE = rb"(?:_binary\s*)?'[^'\\]*+(?:(?:\\.|'')[^'\\]*+)*+'|NULL|0x[0-9A-Fa-f]++|[-+0-9.eE]++"
_STATEMENT = re.compile(
    rb"^CREATE TABLE (?:IF NOT EXISTS )?`(?P<created>\w+)` \((?P<columns>.*?)^\)[^\n]*;"
    rb"|^INSERT (?:IGNORE )?INTO `(?P<filled>\w+)`(?: ?\((?P<order>[^)]*)\))? VALUES",
    re.MULTILINE | re.DOTALL,
)
_COLUMN = re.compile(rb"^\s*`(\w+)`\s", re.MULTILINE)
_BEGUN = re.compile(rb"^(?:CREATE|INSERT)", re.MULTILINE)
_ESCAPE = re.compile(rb"\\(.)|''", re.DOTALL)
_ESCAPED = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"0": b"\0", b"b": b"\b", b"Z": b"\x1a"}


def iterate_rows(path: str, table: str, columns: Sequence[str]) -> Iterator[tuple[str | None, ...]]:
    """Yields the values of the named columns for each row of a dump, NULL as None.

    Raises:
        DumpError: if the file holds another table, lacks a column, is damaged or is cut off.
    """
    name, cursor, order = Path(path).name, _Cursor(path), None
    while (found := cursor.search(_STATEMENT)) is not None:
        held = (found["created"] or found["filled"]).decode()
        if held != table:
            raise DumpError(f"{name} holds the table {held!r}, not {table!r}: give the dump of {table}.")
        if found["created"]:
            order = [column.decode() for column in _COLUMN.findall(found["columns"])]
            continue
        if found["order"]:
            order = [part.strip(b" `").decode() for part in found["order"].split(b",")]
        if order is None:
            raise DumpError(f"{name} has rows before a CREATE TABLE, so no column has a name: fetch it again.")
        yield from _iterate_values(cursor, order, columns, name)
    if order is None or _BEGUN.search(cursor.rest()):
        what = f"has no CREATE TABLE `{table}`" if order is None else "is cut off within a statement"
        raise DumpError(f"{name} {what}: give the wiki's {table}.sql.gz, or fetch it again.")


class _Cursor:
    """A place in a stream of bytes at which expressions are matched; reads on where they need more."""

    def __init__(self, path: str) -> None:
        self._chunks = read_chunks(path)
        self._buffer, self._at, self._is_done = b"", 0, False

    def search(self, pattern: re.Pattern[bytes]) -> re.Match[bytes] | None:
        """Returns the next match wherever it lies, and moves behind it."""
        while (found := pattern.search(self._buffer, self._at)) is None and self._read_on():
            pass
        return self._move(found)

    def match(self, pattern: re.Pattern[bytes]) -> re.Match[bytes] | None:
        """Returns the match that begins here, and moves behind it."""
        while (found := pattern.match(self._buffer, self._at)) is None and self._read_on():
            pass
        return self._move(found)

    def rest(self) -> bytes:
        """Returns what has been read and not matched."""
        return self._buffer[self._at :]

    def _move(self, found: re.Match[bytes] | None) -> re.Match[bytes] | None:
        self._at = self._at if found is None else found.end()
        return found

    def _read_on(self) -> bool:
        if self._is_done or len(self._buffer) - self._at > MAX_ROW_BYTES:
            return False
        chunk = next(self._chunks, b"")
        self._buffer, self._at, self._is_done = self._buffer[self._at :] + chunk, 0, not chunk
        return True


def _iterate_values(
    cursor: _Cursor, order: list[str], columns: Sequence[str], name: str
) -> Iterator[tuple[str | None, ...]]:
    """Yields the rows of one INSERT, the cursor standing behind its VALUES."""
    missing = [column for column in columns if column not in order]
    if missing:
        raise DumpError(f"{name} has the columns {', '.join(order)}, without {missing[0]}: give a dump that has it.")
    parts = (rb"(%b)" % _VALUE if column in columns else rb"(?:%b)" % _VALUE for column in order)
    row = re.compile(rb"\s*+\(\s*+" + rb"\s*,\s*+".join(parts) + rb"\s*+\)\s*+([,;])", re.DOTALL)
    captured = [column for column in order if column in columns]
    positions = [captured.index(column) for column in columns]
    is_last = False
    while not is_last:
        found = cursor.match(row)
        if found is None:
            start = cursor.rest()[:60].decode("utf-8", "replace").strip()
            raise DumpError(
                f"{name} is cut off or damaged: no row of {len(order)} values begins at {start!r}; fetch it again."
            )
        values = found.groups()
        yield tuple(_decode(values[position]) for position in positions)
        is_last = values[-1] == b";"


def _decode(value: bytes) -> str | None:
    if value == b"NULL":
        return None
    if value.startswith(b"0x"):
        value = bytes.fromhex(value[2:].decode())
    elif value.endswith(b"'"):
        value = value[value.index(b"'") + 1 : -1]
        if b"\\" in value or b"'" in value:
            value = _ESCAPE.sub(_unescape, value)
    return value.decode("utf-8", "replace")


def _unescape(found: re.Match[bytes]) -> bytes:
    """Undoes one of mysqldump's escapes; any other escaped byte stands for itself."""
    return b"'" if found[1] is None else _ESCAPED.get(found[1], found[1])
