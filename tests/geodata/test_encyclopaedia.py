import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from geodata import cells
from geodata.grid import distance_m, holds, make_grid
from geodata.judge import Thresholds
from geodata.services.mediawiki import MediaWiki
from geodata.services.session import HttpSettings, ServiceError, Session
from geodata.sources.encyclopaedia import WikipediaSource
from geodata.sources.files import Limits
from geodata.sources.source import Finding, ReadError
from schemas.drop import Drop, Reason, Stage
from schemas.reference import Place, Reference
from tests.services.mediawiki import Article, WikiDouble
from tests.services.server import Fault

UNIT = cells.cell_at(6.13, 49.61, 5)
MANY = Limits(texts_per_cell=1000)
TEXT = "Wiltz () is a town with town status in north-western Luxembourg, on the river of the same name."
CLEAN = TEXT.replace(" ()", "")


def make_places(unit, number, *, seed=1, resolution=8):
    keys = [cells.to_key(cell) for cell in cells.descendants(cells.to_cell(unit), resolution).tolist()]
    chosen = sorted(random.Random(seed).sample(keys, min(number, len(keys))))
    return [Place(key, unit, "train", *cells.centre(key), "LU") for key in chosen]


PLACES = make_places(UNIT, 12)
PLACE = PLACES[0]


def near(place, page_id, *, metres=0.0, **more):
    """An article at a place; its position is on no lattice."""
    more = {"title": f"Page {page_id}", "extract": TEXT, **more}
    return Article(page_id, lon=place.lon + 1.37e-5, lat=place.lat + 1.41e-5 + metres / 111_320, **more)


def make_source(double, *languages, limits=None, thresholds=None, **more):
    settings = HttpSettings(
        endpoints={"wikipedia": double.root},
        contact="me@example.org",
        patience_s=0,
        backoff_s=0.001,
        read_s=0.3,
        **more,
    )
    session = Session(settings, sleep=lambda _: None)
    wikis = {language: MediaWiki(session, language) for language in languages or ("en",)}
    return WikipediaSource(wikis, limits=limits or Limits(), thresholds=thresholds or Thresholds())


def find(source, places, halo=()):
    entries = list(source.find(places, halo))
    return [e for e in entries if isinstance(e, Finding)], [e for e in entries if isinstance(e, Drop)]


def find_items(source, places):
    return [finding.item for finding in find(source, places)[0]]


def scatter(unit, number, *, seed=3):
    outline, rng = cells.hexagon(unit), random.Random(seed)
    (west, south), (east, north) = outline.min(axis=0), outline.max(axis=0)
    draw = ((rng.uniform(west - 0.1, east + 0.1), rng.uniform(south - 0.06, north + 0.06)) for _ in range(number))
    return [
        Article(i, f"Page {i}", (x + 180) % 360 - 180, y, TEXT, length=rng.randint(100, 9000))
        for i, (x, y) in enumerate(draw, 1)
    ]


# Membership and choice


@pytest.mark.parametrize("unit", [UNIT, cells.cell_at(179.97, -16.8, 5), cells.cell_at(25.6, 71.1, 5)])
def test_every_article_goes_to_the_nearest_sampled_patch_that_holds_it_and_is_told_of_once(unit):
    places, articles = make_places(unit, 40), scatter(unit, 900)
    mine, halo = places[::2], places[1::2]
    grids = {place.key: make_grid(place.key, "sentinel2") for place in places}
    expected = {}
    for article in articles:
        holding = [p for p in places if holds(grids[p.key], article.lon, article.lat)]
        if holding:
            nearest = min(holding, key=lambda p: (distance_m(p.lon, p.lat, article.lon, article.lat), p.key))
            expected[f"en:{article.page_id}"] = nearest.key
    with WikiDouble(articles) as double:
        source = make_source(double, limits=MANY)
        findings, drops = find(source, mine, halo)
    keys = {place.key for place in mine}
    assert {f.item.item_id: f.reference.key for f in findings} == {i: k for i, k in expected.items() if k in keys}
    assert len(findings) > 10
    (unowned,) = drops
    seen = {f"en:{a.page_id}" for a in articles if cells.cell_at(a.lon, a.lat, 5) == unit} - expected.keys()
    assert (unowned.reason, unowned.key, unowned.item_id) == (Reason.NOT_SAMPLED, unit, "")
    assert len(seen) * 0.5 < unowned.count <= len(seen)


def test_the_patches_of_all_cells_below_a_unit_lie_in_its_box():
    for unit in [UNIT, cells.cell_at(-70.2, -33.4, 5), cells.cell_at(25.6, 71.1, 5), cells.cell_at(10.0, 2.0, 4)]:
        below = [cells.to_key(cell) for cell in cells.descendants(cells.to_cell(unit), 8).tolist()]
        edge = sorted(below, key=lambda key: -distance_m(*cells.centre(key), *cells.centre(unit)))[:30]
        articles = [near(Place(key, unit, "train", *cells.centre(key), None), i) for i, key in enumerate(edge, 1)]
        places = [Place(key, unit, "train", *cells.centre(key), None) for key in edge]
        with WikiDouble(articles) as double:
            source = make_source(double, limits=MANY)
            assert len(find(source, places)[0]) == len(articles)
            found = np.array(source.anchors(unit))
            assert {cells.to_key(c) for c in cells.cells_at(found, 8).tolist()} == set(edge)


def test_an_item_says_what_the_article_is():
    article = near(PLACE, 7, title="Wolz é", revision=99, length=1234)
    with WikiDouble([article]) as double:
        findings, drops = find(make_source(double), PLACES)
    ((reference, item),) = [(f.reference, f.item) for f in findings]
    url = "https://wiki.example/wiki/Wolz_%C3%A9"
    assert drops == []
    assert reference == Reference(PLACE.key, "text", 0, "wikipedia", "en:7")
    assert (item.href, item.title, item.size, item.note) == (url, "Wolz é", 1234, "revision 99")
    assert (item.source, item.item_id, item.licence) == ("wikipedia", "en:7", "CC-BY-SA-4.0")
    assert (item.attribution, item.lon, item.lat) == (f"Wikipedia contributors, {url}", article.lon, article.lat)


def test_the_longest_of_the_preferred_language_is_taken_and_the_rest_is_counted():
    wikis = {
        "lb": [near(PLACE, 1, length=300), near(PLACE, 2, length=400)],
        "en": [near(PLACE, 3, length=9000), near(PLACE, 4, length=9001)],
    }
    with WikiDouble(wikis) as double:
        for languages, expected in {("lb", "en"): "lb:2 lb:1 en:4 en:3", ("en", "lb"): "en:4 en:3 lb:2 lb:1"}.items():
            items = find_items(make_source(double, *languages, limits=MANY), PLACES)
            assert " ".join(item.item_id for item in items) == expected
        findings, drops = find(make_source(double, "lb", "en", limits=Limits(texts_per_cell=3, text_spares=0)), PLACES)
        assert [(f.reference.rank, f.item.item_id) for f in findings] == [(0, "lb:2"), (1, "lb:1"), (2, "en:4")]
        assert [(d.key, d.reason, d.stage, d.count) for d in drops] == [(PLACE.key, Reason.NOT_CHOSEN, Stage.CHOOSE, 1)]


COARSE = {
    "country": {"type": "country"}, "adm1st": {"type": "adm1st"}, "adm2nd": {"type": "adm2nd"},
    "satellite": {"type": "satellite"}, "large": {"dim": 20_001}, "half degrees": {"lon": 6.0, "lat": 49.5},
    "minutes": {"lon": 6 + 8 / 60, "lat": 49 + 37 / 60}, "minutes in four decimals": {"lon": 6.1333, "lat": 49.6167},
    "hundredths": {"lon": 6.13, "lat": 49.61},
}  # fmt: skip
FINE = {
    "adm3rd": {"type": "adm3rd"}, "20 km": {"dim": 20_000}, "no size": {"dim": None, "type": None},
    "one minute": {"lon": 6 + 8 / 60, "lat": 49.61234}, "mixed": {"lon": 6.13, "lat": 49 + 37 / 60},
    "seconds": {"lon": 6 + 8 / 60 + 3 / 3600, "lat": 49 + 37 / 60 + 1 / 3600},
}  # fmt: skip


@pytest.mark.parametrize("name", [*COARSE, *FINE])
def test_coarse_positions_are_dropped_before_more_is_asked(name):
    article = Article(1, **{"title": "A", "lon": 6.12345, "lat": 49.61234, "extract": TEXT, **(COARSE | FINE)[name]})
    unit, near_it = cells.cell_at(article.lon, article.lat, 5), cells.cell_number(article.lon, article.lat, 8)
    keys = [cells.to_key(cell) for cell in cells.disk(near_it, 1)]
    key = next(key for key in keys if holds(make_grid(key, "sentinel2"), article.lon, article.lat))
    place = Place(key, unit, "train", *cells.centre(key), "LU")
    with WikiDouble([article]) as double:
        source = make_source(double)
        findings, drops = find(source, [place])
        if name in FINE:
            assert len(findings) == 1 == len(source.anchors(unit))
            return
        assert (findings, source.anchors(unit), double.asked(pageids="")) == ([], [], [])
        assert [(d.key, d.reason, d.item_id, d.stage) for d in drops] == [
            (place.key, Reason.IMPRECISE_LOCATION, "en:1", Stage.FIND)
        ]
        assert drops[0].value is not None
        kept = make_source(double, thresholds=Thresholds(imprecise_step_deg=0))
        assert len(find(kept, [place])[0]) == (0 if "type" in COARSE[name] or "dim" in COARSE[name] else 1)


def test_pages_that_give_no_text_are_dropped_with_their_reason_and_the_next_is_taken():
    articles = [
        near(PLACE, 1, is_disambiguation=True, length=9000), near(PLACE, 2, length=59), near(PLACE, 3, redirects_to="Page 5"),
        near(PLACE, 5, length=60),
    ]  # fmt: skip
    with WikiDouble(articles) as double:
        findings, drops = find(make_source(double), PLACES)
    assert [f.item.item_id for f in findings] == ["en:5"]
    reasons = {d.item_id: d.reason for d in drops}
    assert reasons == {"en:1": Reason.DISAMBIGUATION, "en:2": Reason.STUB, "en:3": Reason.MISSING_FILE}
    assert {(d.key, d.modality, d.source, d.count) for d in drops} == {(PLACE.key, "text", "wikipedia", 1)}


def test_only_articles_that_a_cell_holds_are_described():
    far = [replace(a, page_id=a.page_id + 100) for a in scatter(UNIT, 300)]
    with WikiDouble([near(PLACE, 1), near(PLACE, 2), *far]) as double:
        findings, drops = find(make_source(double, limits=MANY), [PLACE])
        asked = [page_id for query in double.asked(pageids="") for page_id in query["pageids"].split("|")]
        assert sorted(asked) == sorted(f.item.item_id.removeprefix("en:") for f in findings)
        assert [d.reason for d in drops] == [Reason.NOT_SAMPLED]


def test_unowned_articles_are_counted_by_language():
    far = [
        article for article in scatter(UNIT, 500) if distance_m(PLACE.lon, PLACE.lat, article.lon, article.lat) > 2000
    ]
    with WikiDouble({"en": far, "de": far[:100], "fr": []}) as double:
        findings, drops = find(make_source(double, "en", "de", "fr"), PLACES[:1])
    assert findings == []
    assert [d.detail.rpartition(" ")[2] for d in drops] == ["en", "de"]
    assert all(d.value == d.count for d in drops)
    assert drops[0].count > drops[1].count > 0


def test_places_are_found_with_the_answers_that_their_anchors_gave(tmp_path):
    with WikiDouble(scatter(UNIT, 300)) as double:
        source = make_source(double, cache=str(tmp_path))
        anchors = source.anchors(UNIT, seed=3)
        assert len(anchors) == len(set(anchors)) > 100
        sent = len(double.asked(list="geosearch"))
        assert sent <= 4
        find(make_source(double, cache=str(tmp_path)), PLACES)
        assert len(double.asked(list="geosearch")) == sent


def test_a_search_that_fails_is_left_to_the_caller():
    with WikiDouble([]) as double:
        double.server.faults.append(Fault("status", 99, status=500))
        source = make_source(double)
        with pytest.raises(ServiceError, match=r"wikipedia: .*failed 5 times"):
            find(source, PLACES)


def test_two_searches_are_alike():
    with WikiDouble({"en": scatter(UNIT, 400), "de": scatter(UNIT, 400, seed=4)}) as double:
        first, second = (list(make_source(double, "en", "de", limits=MANY).find(PLACES, ())) for _ in range(2))
    assert first == second


# Reading


def test_texts_are_read_in_batches_and_cleaned():
    articles = [near(PLACE, i, title=f"Page {i}", extract=f"{TEXT} {i}") for i in range(1, 46)]
    with WikiDouble({"en": articles, "lb": [near(PLACE, 1, title="Wolz")]}) as double:
        source = make_source(double, "en", "lb", limits=MANY)
        items = find_items(source, PLACES)
        source.prepare(items)
        for item in items[::-1]:
            number = item.item_id.removeprefix("en:")
            assert source.read_text(item) == (CLEAN if item.item_id == "lb:1" else f"{CLEAN} {number}")
        sizes = [len(query["pageids"].split("|")) for query in double.asked(exintro="1")]
        assert sorted(sizes) == [1, 5, 20, 20]
        source.read_text(items[0])
        assert len(double.asked(exintro="1")) == 4
        source.prepare([])
        source.read_text(items[0])
        assert len(double.asked(exintro="1")) == 5


def test_threads_share_the_batches():
    articles = [near(PLACE, i, extract=f"{TEXT} {i}") for i in range(1, 101)]
    with WikiDouble(articles) as double:
        source = make_source(double, limits=MANY)
        items = find_items(source, PLACES)
        source.prepare(items)
        with ThreadPoolExecutor(8) as pool:
            texts = list(pool.map(source.read_text, items))
        assert texts == [f"{CLEAN} {item.item_id.removeprefix('en:')}" for item in items]
        assert len(double.asked(exintro="1")) == 5


def test_what_cannot_be_read_says_why():
    articles = [
        near(PLACE, 1), near(PLACE, 2, extract="Short."), near(PLACE, 3, extract=f"Wiltz may refer to: {TEXT}"),
        near(PLACE, 4, title="Wiltz (disambiguation)"), near(PLACE, 5, extract=None), near(PLACE, 6), near(PLACE, 7),
    ]  # fmt: skip
    with WikiDouble(articles) as double:
        source = make_source(double, limits=MANY)
        items = {item.item_id: item for item in find_items(source, PLACES)}
        double.wikis[""][5] = replace(articles[5], is_deleted=True)
        double.wikis[""][6] = replace(articles[6], redirects_to="Page 1")
        source.prepare(list(items.values()))
        assert source.read_text(items.pop("en:1")) == CLEAN
        reasons = {}
        for item_id, item in items.items():
            with pytest.raises(ReadError, match=rf"^{item_id}: ") as caught:
                source.read_text(item)
            reasons[item_id] = caught.value.reason
            assert not caught.value.retryable
    missing = Reason.MISSING_FILE
    assert reasons == {
        "en:2": Reason.STUB, "en:3": Reason.DISAMBIGUATION, "en:4": Reason.DISAMBIGUATION, "en:5": missing, "en:6": missing,
        "en:7": missing,
    }  # fmt: skip


def test_a_service_that_fails_costs_the_text_and_can_be_asked_again():
    with WikiDouble([near(PLACE, 1)]) as double:
        source = make_source(double)
        (item,) = find_items(source, PLACES)
        source.prepare([item])
        double.server.faults.append(Fault("status", 5, status=503))
        with pytest.raises(ReadError, match=r"en:1: .*failed 5 times") as caught:
            source.read_text(item)
        assert (caught.value.reason, caught.value.retryable) == (Reason.SERVICE, True)
        assert source.read_text(item) == CLEAN


FAULTS = [
    Fault("status", 2, status=429), Fault("status", 2, status=503, headers={"Retry-After": "2"}), Fault("reset", 2),
    Fault("timeout", 1), Fault("truncated", 2), Fault("wrong_length", 2), Fault("html", 2),
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.action} {fault.status}")
def test_a_fault_on_the_way_changes_nothing(fault):
    with WikiDouble([near(PLACE, 1), *[replace(a, page_id=a.page_id + 10) for a in scatter(UNIT, 50)]]) as double:
        calm = make_source(double)
        expected = list(calm.find(PLACES, ()))
        double.server.faults.append(Fault(**vars(fault)))
        source = make_source(double)
        assert list(source.find(PLACES, ())) == expected
        (item,) = [e.item for e in expected if isinstance(e, Finding) and e.item.item_id == "en:1"]
        double.server.faults.append(Fault(**vars(fault)))
        assert source.read_text(item) == CLEAN


def test_other_things_are_not_read_here():
    with WikiDouble([near(PLACE, 1)]) as double:
        source = make_source(double)
        (item,) = find_items(source, PLACES)
        with pytest.raises(ReadError) as caught:
            source.read_raster(item, make_grid(PLACE.key, "sentinel2"))
        assert caught.value.reason == Reason.UNKNOWN_MODALITY
        with pytest.raises(ReadError, match="wikipedia has no text"):
            source.read_bytes(item)
        with pytest.raises(ReadError, match="--wikipedia does not name 'fr'") as caught:
            source.read_text(replace(item, item_id="fr:1"))
        assert caught.value.reason == Reason.NO_SERVICE


def test_a_dense_unit_is_found_whole():
    articles = [near(PLACE, i, metres=i / 10, length=1000 + i) for i in range(1, 1201)]
    with WikiDouble(articles) as double:
        findings, drops = find(make_source(double, limits=Limits(texts_per_cell=2, text_spares=0)), [PLACE])
        total = len(findings) + sum(drop.count for drop in drops)
        assert total == 1200
        assert Counter(drop.reason for drop in drops).keys() <= {Reason.NOT_CHOSEN, Reason.NOT_SAMPLED}
        assert findings[0].item.size == max(
            1000 + a.page_id for a in articles if holds(make_grid(PLACE.key, "sentinel2"), a.lon, a.lat)
        )
