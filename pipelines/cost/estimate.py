"""What a build will cost: observations, requests, bytes, and the hours that the slowest of services and workers needs.

Shards are added one at a time, so an estimate is as large for a million places as for a hundred.
"""

import copy
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from geodata import cells
from geodata.services.service import SERVICES
from geodata.services.session import HttpSettings
from geodata.sources.live import LIVE_MODALITIES
from pipelines.cost.measures import Measures
from pipelines.cost.reads import Key, ShardReader, key_of
from pipelines.plan.options import Options
from pipelines.plan.recipe import Recipe
from pipelines.sources.live import services_of
from schemas.modality import MODALITIES
from schemas.reference import Item, Reference

METADATA_BYTES = 920
"""The metadata member of a sample without what its observations add, with header and padding."""
TOKEN_HOURS = 0.7
"""A token of the Planetary Computer lives about 45 minutes, and is renewed a little earlier."""


@dataclass(frozen=True)
class Workers:
    """Who builds."""

    number: int = 1
    """Processes; on Dataflow vCPUs, for each runs one."""
    threads: int = 8
    """Places that one reads at once."""


class CostEstimate:
    """Sums over the shards that were added."""

    def __init__(
        self, recipe: Recipe, *, http: HttpSettings | None = None, threads: int = Workers.threads,
        measures: Measures | None = None,
    ) -> None:  # fmt: skip
        self._recipe, self._http = recipe, http or HttpSettings()
        self._workers = Workers(self._http.workers, threads)
        self._measures = measures or Measures()
        self._reader = ShardReader(recipe, self._measures, workers=self._workers.number)
        self._shards = self._places = 0.0
        self._sources: set[str] = set()
        self._observations: Counter[str] = Counter()
        self._read: Counter[str] = Counter()
        self._views: Counter[int] = Counter()
        self._licences: Counter[tuple[str, str]] = Counter()
        self._requests: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()

    def add(self, references: Sequence[Reference], items: Mapping[Key, Item]) -> None:
        """Adds a shard.

        Args:
            references: of the shard, in the order of the plan.
            items: what they name.
        """
        wanted = [r for r in references if r.rank < self._recipe.most(r.modality)]
        read = self._choose_read(references)
        self._observations.update(r.modality for r in wanted)
        self._read.update(r.modality for r in read)
        self._licences.update((r.modality, items[key_of(r)].licence) for r in wanted)
        views: defaultdict[str, set[str]] = defaultdict(set)
        for reference in wanted:
            views[reference.key].add(reference.modality)
        self._views.update(len(found) for found in views.values())
        self._shards, self._places = self._shards + 1, self._places + len(views)
        live = [r for r in references if r.source in LIVE_MODALITIES]
        self._sources |= {r.source for r in live}
        for service, requests, size in self._reader.read(read, live, items):
            self._requests[service] += requests
            self._bytes[service] += size  # type: ignore[assignment]

    def scaled(self, factor: float) -> "CostEstimate":
        """Returns the estimate of so many times as many shards: of all where a part of the units was added."""
        other = copy.copy(self)
        other._shards, other._places = factor * self._shards, factor * self._places
        for name in ("_observations", "_read", "_views", "_licences", "_requests", "_bytes"):
            setattr(other, name, Counter({key: factor * n for key, n in getattr(self, name).items()}))
        return other

    def as_dict(self) -> dict[str, Any]:
        """Returns observations and bytes by modality, requests and bytes by service, hours, views and licences.

        The build takes as long as the slowest of: each service at its polite rate, which all workers share; what the
        workers compute; what they wait for answers. On Dataflow a vCPU is paid while it waits, so that
        vCPU hours = workers x hours of the build, and never less than the processor's own hours.
        """
        weights = self._measures.weights
        table = {
            name: {
                "observations": round(self._observations[name]),
                "bytes": round(self._observations[name] * weights[name].kept_share * weights[name].stored_bytes),
            }
            for name in MODALITIES
        }
        services = self._describe_services()
        hours = self._hours(services)
        slowest = max(hours, key=lambda name: hours[name])
        cpu = hours["processors"] * self._workers.number
        return {
            "places": round(self._places), "per_modality": table,
            "bytes": round(sum(row["bytes"] for row in table.values()) + self._places * METADATA_BYTES),
            "views": {str(n): round(k) for n, k in sorted(self._views.items())},
            "services": services, "licences": [[*name, round(n)] for name, n in sorted(self._licences.items())],
            "workers": self._workers.number, "build_hours": round(hours[slowest], 4), "slowest": slowest,
            "cpu_hours": round(cpu, 4), "vcpu_hours": round(max(cpu, hours[slowest] * self._workers.number), 4),
            "measured": self._measures.seen, "notes": list(self._measures.notes),
        }  # fmt: skip

    def _choose_read(self, references: Sequence[Reference]) -> list[Reference]:
        """Returns what is read: what is wanted, and spares at as many places as the pilot found to need them."""
        shares = {name: weight.tried_shares for name, weight in self._measures.weights.items()}
        read = []
        for r in references:
            spare = r.rank - self._recipe.most(r.modality)
            if spare < 0 or (spare < len(shares[r.modality]) and _lot(r.key, r.modality) < shares[r.modality][spare]):
                read.append(r)
        return read

    def _describe_services(self) -> dict[str, dict[str, float]]:
        requests, size = Counter(self._requests), Counter(self._bytes)
        for service in services_of(sorted(self._sources)):  # whether they are there is asked before anything is read
            requests[service] += 1
            size[service] += self._measures.check_bytes.get(service, 0)  # type: ignore[assignment]
        workers = min(float(self._workers.number), self._shards)
        rounds = 1 + max((self._polite_hours(name, requests[name]) for name in requests), default=0.0) // TOKEN_HOURS
        tokens = self._reader.tokens() * workers * rounds
        requests["sas"] += tokens  # type: ignore[assignment]
        size["sas"] += tokens * self._measures.answer_bytes["sas"]  # type: ignore[assignment]
        return {
            name: {
                "requests": round(requests[name]), "bytes": round(size[name]),
                "rate_per_s": self._rate(name), "hours": round(self._polite_hours(name, requests[name]), 4),
            }
            for name in SERVICES
            if requests[name]
        }  # fmt: skip

    def _hours(self, services: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        """Returns how long each of those would need that could be the slowest."""
        hours = {name: row["hours"] for name, row in services.items()}
        cpu_s = sum(self._read[name] * weight.cpu_s for name, weight in self._measures.weights.items())
        waiting_s = sum(row["requests"] * self._measures.answer_s.get(name, 0) for name, row in services.items())
        hours["processors"] = cpu_s / 3600 / self._workers.number
        hours["answers"] = waiting_s / 3600 / self._workers.number / self._workers.threads
        return hours

    def _rate(self, service: str) -> float:
        return self._http.rates.get(service, SERVICES[service].rate_per_s)

    def _polite_hours(self, service: str, requests: float) -> float:
        return requests / self._rate(service) / 3600


def open_estimate(options: Options) -> CostEstimate:
    """Returns an empty estimate for the workers and rates of a build."""
    return CostEstimate(options.recipe, http=options.live_settings.http, threads=options.threads)


def _lot(key: str, modality: str) -> float:
    """A number of [0, 1) that a place and a view always draw."""
    number = np.array([cells.to_cell(key)], dtype=np.uint64)
    return int(cells.hash64(number, f"spares {modality}")[0]) / 2**64
