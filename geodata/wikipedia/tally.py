"""Counting what a dump holds: seen = kept + dropped by reason."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Skip(StrEnum):
    """Why a row or a page of a dump is no article of the table."""

    NOT_EARTH = "not_earth"
    """The tag is on another globe."""
    NOT_PRIMARY = "not_primary"
    """The tag says where something in the article lies, not the article itself."""
    BAD_COORDINATES = "bad_coordinates"
    """The tag has no position, or none on Earth."""
    DUPLICATE = "duplicate"
    """A second primary tag of a page, or a page that stands in two files: the newest revision is kept."""
    NO_PAGE = "no_page"
    """The tag's page is in none of the files."""
    OTHER_NAMESPACE = "other_namespace"
    """A talk page, template, category ..."""
    REDIRECT = "redirect"
    """The page only points to another."""
    NOT_TAGGED = "not_tagged"
    """The page has no usable tag."""
    DISAMBIGUATION = "disambiguation"
    """The page lists what a name may mean."""
    NO_TEXT = "no_text"
    """Nothing stands before the first heading but templates and pictures."""
    UNREADABLE = "unreadable"
    """The wikitext cannot be parsed."""


@dataclass
class Tally:
    """How many were seen, and what became of them."""

    kept: int = 0
    """Taken."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Not taken, by reason."""

    @property
    def seen(self) -> int:
        """All."""
        return self.kept + self.dropped.total()

    def add(self, skip: Skip | None) -> None:
        """Counts one, kept where there is no reason against it."""
        if skip is None:
            self.kept += 1
        else:
            self.dropped[skip.value] += 1

    def turn_down(self, skip: Skip, count: int) -> None:
        """Counts as dropped what had been counted as kept."""
        self.kept -= count
        self.dropped[skip.value] += count

    def describe(self) -> dict[str, Any]:
        """Returns the counts as JSON values."""
        reasons = {reason: number for reason, number in sorted(self.dropped.items()) if number}
        return {"seen": self.seen, "kept": self.kept, "dropped": reasons}


def parse_tally(counts: Mapping[str, Any]) -> Tally:
    """Reads what `Tally.describe` wrote."""
    return Tally(counts["kept"], Counter(counts["dropped"]))


def closing_table(tallies: Mapping[str, Tally]) -> str:
    """Returns seen, kept and dropped by reason, a line for each kind."""
    lines = [f"{'':<9} {'seen':>10} {'kept':>10} {'dropped':>10}  reasons"]
    for name, tally in tallies.items():
        reasons = ", ".join(f"{reason} {number}" for reason, number in tally.describe()["dropped"].items())
        lines.append(f"{name:<9} {tally.seen:>10} {tally.kept:>10} {tally.dropped.total():>10}  {reasons}".rstrip())
    return "\n".join(lines)
