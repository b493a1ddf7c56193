import threading
from dataclasses import dataclass

import pytest

from geodata.services.session import ServiceError
from pipelines.building.watchdog import MOST_OVERDUE, Watchdog
from pipelines.planning.find import PLACES_PER_LIMIT, _search
from schemas.drop import Reason, Stage
from schemas.reference import Place


@dataclass
class Stuck:
    """A service whose answer never ends, until the test does."""

    name: str
    freed: threading.Event
    asked: int = 0

    def find(self, places, halo):
        self.asked += 1
        self.freed.wait(60)
        return iter(())


@dataclass
class Failing:
    name: str

    def find(self, places, halo):
        raise ServiceError(self.name, "is down")


@pytest.fixture
def freed():
    event = threading.Event()
    yield event
    event.set()


def places(number):
    return [Place(f"8a1fa4430{n:02d}7fff", "851fa443fffffff", "train", 6.1, 49.6, "LU") for n in range(number)]


def test_a_search_that_hangs_is_given_up_and_costs_each_place_a_drop_that_can_be_asked_again(freed):
    watchdog, source = Watchdog(0.02), Stuck("wikipedia", freed)
    drops = _search((source, places(3), []), watchdog)
    assert [drop.key for drop in drops] == [place.key for place in places(3)]
    for drop in drops:
        assert (drop.modality, drop.stage, drop.reason, drop.source) == (
            "text",
            Stage.FIND,
            Reason.OVERDUE,
            "wikipedia",
        )
        assert drop.retryable and "no answer within 0.02 s (--overdue)" in drop.detail
    for _ in range(MOST_OVERDUE):
        last = _search((source, places(1), []), watchdog)
    assert source.asked == MOST_OVERDUE and "not asked again in this run" in last[0].detail
    assert watchdog.has_hung("wikipedia") and not watchdog.has_hung("mapillary")
    assert _search((Failing("mapillary"), places(1), []), watchdog)[0].reason == Reason.SERVICE


def test_the_search_of_many_places_may_take_longer(freed):
    watchdog = Watchdog(0.01)
    detail = _search((Stuck("mapillary", freed), places(3 * PLACES_PER_LIMIT - 1), []), watchdog)[0].detail
    assert "within 0.03 s" in detail
