"""One frozen dataclass for each runnable holds every option; the command line is made from it."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, field, fields
from types import UnionType
from typing import Any, TypeVar, get_args

T = TypeVar("T")


class OptionError(ValueError):
    """An option cannot be used: one sentence with fact, value and remedy."""


def option(default: Any, text: str, **more: object) -> Any:
    """Describes one field of a dataclass of options: its default, its help, its choices, and more about it."""
    return field(default=default, metadata={"help": text, **more})


def parse(
    kind: type[T],
    arguments: Sequence[str] | None,
    *,
    prog: str,
    description: str,
    epilog: str = "",
    defaults: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda _: {},
) -> T:
    """Reads a command line into a dataclass of options; a field without a default is a word in its place.

    Args:
        defaults: returns, for the options that are on the command line, what others are that are not.
    """
    parser = argparse.ArgumentParser(
        prog=prog, description=description, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False, argument_default=argparse.SUPPRESS,
    )  # fmt: skip
    for one in fields(kind):  # type: ignore[arg-type]
        _add(parser, one)
    values = vars(parser.parse_args(arguments))
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return kind(**{**defaults(given), **given})


def check_least(options: object, **least: float) -> None:
    """Raises OptionError for the first of the named options that is below its least value."""
    for name, value in least.items():
        if getattr(options, name) < value:
            raise OptionError(f"--{name} {getattr(options, name)} is too small: give at least {value}.")


def listed(text: str) -> list[str]:
    """Returns the parts between commas, without those that are empty."""
    return [part.strip() for part in text.split(",") if part.strip()]


def _add(parser: argparse.ArgumentParser, one: Field[Any]) -> None:
    text = one.metadata["help"].replace("%", "%%")
    if one.default is MISSING:
        parser.add_argument(one.name, help=text)
        return
    if one.metadata.get("in_place"):
        parser.add_argument(one.name, nargs="?", default=argparse.SUPPRESS, help=text)
        return
    if one.type is bool:
        parser.add_argument(f"--{one.name}", action="store_true", default=argparse.SUPPRESS, help=text)
        return
    if one.default == ():
        parser.add_argument(f"--{one.name}", action="append", metavar="NAME=...", help=text)
        return
    kinds = [part for part in get_args(one.type) if part is not type(None)]
    kind = kinds[0] if isinstance(one.type, UnionType) else one.type
    shown = text if one.default in (None, "") else f"{text} (default {one.default})"
    parser.add_argument(f"--{one.name}", type=kind, choices=one.metadata.get("choices"), help=shown)
