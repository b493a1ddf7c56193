"""Who is to be credited for each observation, as a table and as bounded lists."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from geodata.licences import find_licence

MOST_LISTED = 100
"""More credits of one view under one licence are not listed on a page: the table has them all."""
MOST_LICENCES = 200
"""More statements of licences than these are counted together."""
SUNDRY = "other statements"

K = TypeVar("K")
Identity = tuple[str, str, str]
"""Modality, source and item: what a sidecar says of an observation."""
_URL = re.compile(r"https?://[^\s<>\")]+")


@dataclass(frozen=True, slots=True)
class Credit:
    """One observation of a corpus, one row of the table."""

    key: str
    """H3 cell."""
    modality: str
    """Which view."""
    source: str
    """Name of the source."""
    item_id: str
    """The source's identifier."""
    title: str | None
    """Of an article; None for others."""
    attribution: str
    """Credit line as the source asks for it."""
    url: str
    """Page of the work; "" where none is known."""
    licence: str
    """As the record states it."""
    licence_url: str
    """Where it is written; "" where it is not known."""


def credits_of(rows: Iterable[Mapping[str, Any]], items: Mapping[Identity, Mapping[str, Any]]) -> Iterator[Credit]:
    """Yields the credit of each observation, in the order of the samples.

    Args:
        rows: of a sidecar.
        items: of its shard's plan.
    """
    for row in rows:
        for modality, source, item_id in row["identities"]:
            item = items[modality, source, item_id]
            licence = find_licence(item["licence"])
            yield Credit(
                row["key"], modality, source, item_id, item["title"], item["attribution"], _page(item),
                item["licence"], licence.url if licence else "",
            )  # fmt: skip


def _page(item: Mapping[str, Any]) -> str:
    """Returns the page of a work: an article's own address, or the one that its credit names."""
    if item["modality"] == "text" and item["href"].startswith(("https://", "http://")):
        return str(item["href"])
    found = _URL.search(item["attribution"])
    return found[0] if found else ""


@dataclass
class Tally:
    """The credits of one view under one licence."""

    observations: int = 0
    """All of them."""
    _credits: Counter[str] | None = field(default_factory=Counter)
    _works: Counter[tuple[str, str, str]] | None = field(default_factory=Counter)

    def add(self, credit: Credit) -> None:
        """Counts an observation; credits and works are kept while there are few."""
        self.observations += 1
        self._credits = _count(self._credits, credit.attribution)
        self._works = _count(self._works, (credit.attribution, credit.title or "", credit.url))

    @property
    def credits(self) -> dict[str, int] | None:
        """Observations by credit line, in order; None where there are too many to list."""
        return None if self._credits is None else dict(sorted(self._credits.items()))

    @property
    def works(self) -> dict[tuple[str, str, str], int] | None:
        """Observations by credit line, title and page; None where there are too many to list."""
        return None if self._works is None else dict(sorted(self._works.items()))


def _count(counter: Counter[K] | None, value: K) -> Counter[K] | None:
    """Counts a value, and returns nothing once there are too many of them."""
    if counter is not None:
        counter[value] += 1
    return counter if counter is not None and len(counter) <= MOST_LISTED else None


class Tallies:
    """The credits of a corpus by view and licence, in bounded memory."""

    def __init__(self) -> None:
        self._by_view: defaultdict[str, dict[str, Tally]] = defaultdict(dict)

    def add(self, credit: Credit) -> None:
        """Counts an observation."""
        tallies = self._by_view[credit.modality]
        is_new = credit.licence not in tallies and len(tallies) >= MOST_LICENCES
        tallies.setdefault(SUNDRY if is_new else credit.licence, Tally()).add(credit)

    def by_licence(self) -> dict[str, dict[str, Tally]]:
        """Returns the tallies of each view under each licence, in order."""
        found: defaultdict[str, dict[str, Tally]] = defaultdict(dict)
        for modality, tallies in sorted(self._by_view.items()):
            for licence, tally in tallies.items():
                found[licence][modality] = tally
        return dict(sorted(found.items()))

    def table(self) -> dict[str, list[dict[str, Any]]]:
        """Returns licences, credits and numbers of observations of each view, as the manifest holds them."""
        return {
            modality: [row for licence, tally in sorted(tallies.items()) for row in _rows(licence, tally)]
            for modality, tallies in sorted(self._by_view.items())
        }


def _rows(licence: str, tally: Tally) -> Iterator[dict[str, Any]]:
    """Where nearly each record has a credit of its own, the record names it."""
    credits = tally.credits
    for attribution, number in ({"as each record says": tally.observations} if credits is None else credits).items():
        yield {"licence": licence, "attribution": attribution, "observations": number}
