"""Frozen dataclasses as parquet tables: one row a record, one row group a shard."""

import dataclasses
import types
import typing
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from enum import Enum
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.files import storage

T = typing.TypeVar("T")

_ARROW = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}


def schema_of(record: type) -> pa.Schema:
    """Returns the arrow schema of a dataclass of strings, numbers, booleans, enums and tuples of numbers."""
    return pa.schema([pa.field(f.name, _arrow_type(f.type)) for f in dataclasses.fields(record)])


def to_table(rows: Iterable[Any], record: type) -> pa.Table:
    """Returns records as a table."""
    schema = schema_of(record)
    columns: dict[str, list[object]] = {name: [] for name in schema.names}
    for row in rows:
        for name, column in columns.items():
            value = getattr(row, name)
            column.append(value.value if isinstance(value, Enum) else value)
    return pa.table(columns, schema=schema)


def from_table(table: pa.Table, record: type[T]) -> Iterator[T]:
    """Yields the records of a table."""
    columns = []
    for field in dataclasses.fields(record):  # type: ignore[arg-type]
        values, make = table[field.name].to_pylist(), _maker(field.type)
        columns.append(values if make is None else [make(value) for value in values])
    yield from map(record, *columns)


class RowWriter:
    """Writes a table group by group; the file is there when it is closed."""

    def __init__(self, path: str, record: type) -> None:
        self._record = record
        self._stack = ExitStack()
        sink = self._stack.enter_context(storage.create(path))
        self._writer = pq.ParquetWriter(sink, schema_of(record), compression="zstd")

    def write(self, rows: Iterable[Any]) -> None:
        """Writes a row group."""
        self._writer.write_table(to_table(rows, self._record), row_group_size=1 << 30)

    def close(self) -> None:
        """Ends the file."""
        self._writer.close()
        self._stack.close()


def write_rows(path: str, groups: Iterable[Iterable[Any]], record: type) -> None:
    """Writes groups of records, each as a row group of its own."""
    writer = RowWriter(path, record)
    for rows in groups:
        writer.write(rows)
    writer.close()


def read_rows(path: str, record: type[T], group: int | None = None) -> list[T]:
    """Reads all records of a table, or those of one row group."""
    with pq.ParquetFile(parquet_source(path)) as file:
        return list(from_table(file.read() if group is None else file.read_row_group(group), record))


def read_column(path: str, column: str) -> list[Any]:
    """Reads one column of a table."""
    table = pq.read_table(parquet_source(path), columns=[column])
    return table[column].to_pylist()  # type: ignore[no-any-return]


def parquet_source(path: str) -> str | pa.BufferReader:
    """Returns what arrow reads a file from without Python.

    Arrow's threads must not need Python when the process ends: one that does aborts it (seen with pyarrow 25).
    """
    return pa.BufferReader(storage.read_bytes(path)) if storage.is_remote(path) else path


def _arrow_type(hint: object) -> pa.DataType:
    bare = _without_none(hint)
    if typing.get_origin(bare) is tuple:
        return pa.list_(_arrow_type(typing.get_args(bare)[0]))
    if isinstance(bare, type) and issubclass(bare, Enum):
        return pa.string()
    return _ARROW[bare]  # type: ignore[index]


def _maker(hint: object) -> Any:
    """Returns what makes a field's value from a cell's, None where they are the same."""
    bare = _without_none(hint)
    if typing.get_origin(bare) is tuple:
        return lambda value: None if value is None else tuple(value)
    if isinstance(bare, type) and issubclass(bare, Enum):
        return bare
    return None


def _without_none(hint: object) -> object:
    if isinstance(hint, types.UnionType):
        return next(arg for arg in typing.get_args(hint) if arg is not type(None))
    return hint
