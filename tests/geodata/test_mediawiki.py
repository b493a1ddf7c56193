import json
import logging
import math
import random
import urllib.error
import urllib.request
from urllib.parse import urlencode

import pytest

from geodata.services import mediawiki
from geodata.services.mediawiki import MediaWiki
from geodata.services.session import HttpSettings, ServiceError, Session
from tests.services.mediawiki import Article, WikiDouble, chord_m
from tests.services.server import Fault

BOX = (6.0, 49.6, 6.02, 49.62)


def make_wiki(double, language="en", **more):
    waits = []
    settings = {"contact": "me@example.org", "backoff_s": 0.001, "read_s": 0.3, **more}
    session = Session(
        HttpSettings(endpoints={"wikipedia": double.root}, **{"patience_s": 0, **settings}), sleep=waits.append
    )
    return MediaWiki(session, language), waits


def scatter(number, box, *, seed=1, **more):
    west, south, east, north = box
    rng = random.Random(seed)
    return [
        Article(1000 + i, f"Ort {i} é", rng.uniform(west, east), rng.uniform(south, north), f"Text {i}.", **more)
        for i in range(number)
    ]


# The search


@pytest.mark.parametrize(
    "box",
    [
        BOX, (5.5, 49.4, 6.3, 50.1), (178.9, -17.2, 180.7, -16.6), (-180.4, 66.0, -179.7, 66.3), (24.0, 89.6, 26.0, 89.9),
        (-180.0, 89.95, 180.0, 90.0), (0.0, 89.9, 100.0, 90.0), (10.0, 45.0, 10.4, 45.0), (179.5, 0.0, 180.0000001, 0.1),
    ],
)  # fmt: skip
def test_a_search_finds_what_lies_in_the_box_and_asks_for_no_area_that_is_refused(box):
    west, _, east, north = box
    inside = scatter(300, box)
    outside = scatter(50, (west, north + 0.1, east, north + 0.2), seed=2) if north < 89 else []
    outside = [Article(a.page_id + 10_000, a.title, a.lon, a.lat) for a in outside]
    turned = [Article(a.page_id, a.title, (a.lon + 180) % 360 - 180, a.lat) for a in inside + outside]
    with WikiDouble(turned) as double:
        wiki, _ = make_wiki(double)
        found = wiki.search_box(box)
        assert [a.page_id for a in found] == [a.page_id for a in inside]
        for query in double.asked(gsbbox=""):
            top, left, bottom, right = map(float, query["gsbbox"].split("|"))
            middle = (top + bottom) / 2
            assert 100 < chord_m(0, top, 0, bottom) * chord_m(left, middle, right, middle) < 4e8


def test_a_unit_of_search_takes_two_requests():
    with WikiDouble([]) as double:
        wiki, _ = make_wiki(double)
        wiki.search_box((6.0, 49.5, 6.35, 49.7))
        assert len(double.server.requests) == 2


@pytest.mark.parametrize("number", [500, 1400])
def test_a_full_answer_is_asked_for_in_quarters(number):
    articles = scatter(number, BOX)
    with WikiDouble(articles) as double:
        wiki, _ = make_wiki(double)
        found = wiki.search_box(BOX)
        assert [a.page_id for a in found] == [a.page_id for a in articles]
        assert len(double.server.requests) >= 5


def test_an_answer_from_which_deleted_pages_fell_counts_as_full():
    articles = scatter(600, BOX)
    near = sorted(articles, key=lambda a: math.hypot(a.lon - 6.01, a.lat - 49.61))[:3]
    gone = [Article(a.page_id, a.title, a.lon, a.lat, is_deleted=a in near) for a in articles]
    with WikiDouble(gone) as double:
        wiki, _ = make_wiki(double)
        assert len(wiki.search_box(BOX)) == 597


def test_what_no_box_is_small_enough_for_is_reported(caplog):
    with WikiDouble([Article(i, f"Flat {i}", 6.01, 49.61) for i in range(1, 700)]) as double:
        wiki, _ = make_wiki(double)
        with caplog.at_level(logging.WARNING):
            found = wiki.search_box(BOX)
        assert 500 <= len(found) < 699
        assert "500 articles in" in caplog.text
        assert "some may be missing" in caplog.text
        assert len(double.server.requests) < 100


def test_parts_far_from_what_is_near_are_not_asked_for_and_the_others_as_before():
    box, near = (6.0, 49.0, 7.2, 49.8), (6.0, 49.0, 6.05, 49.05)
    with WikiDouble(scatter(200, box)) as double:
        wiki, _ = make_wiki(double)
        wiki.search_box(box)
        everywhere = {query["gsbbox"] for query in double.asked(gsbbox="")}
        double.server.requests.clear()
        found = wiki.search_box(box, near=[near, (366.0, 49.0, 366.05, 49.05)])
        some = {query["gsbbox"] for query in double.asked(gsbbox="")}
        assert len(some) == 1 < len(everywhere)
        assert some < everywhere
        assert {a.page_id for a in found} >= {a.page_id for a in scatter(200, box) if a.lon < 6.05 and a.lat < 49.05}


@pytest.mark.parametrize("turn", [-360, 0, 360])
def test_nearness_knows_no_antimeridian(turn):
    articles = [Article(1, "East", 179.99, 0.05), Article(2, "West", -179.99, 0.05)]
    with WikiDouble(articles) as double:
        found = make_wiki(double)[0].search_box((179.9, 0, 180.1, 0.1), near=[(179.98 + turn, 0, 180.02 + turn, 0.1)])
    assert [a.title for a in found] == ["East", "West"]


def test_the_moon_and_secondary_coordinates_are_left_out():
    articles = [
        Article(1, "Œuvre à Würzburg 東京", 6.01, 49.61, dim=None, type=None, country=None, secondary=((6.011, 49.611),) * 3),
        Article(2, "Mare", 6.01, 49.61, globe="moon"), Article(3, "List", 7.0, 49.0, secondary=((6.01, 49.61),)),
    ]  # fmt: skip
    with WikiDouble(articles) as double:
        wiki, _ = make_wiki(double)
        (found,) = wiki.search_box(BOX)
        assert (found.page_id, found.title) == (1, "Œuvre à Würzburg 東京")
        assert (found.dim_m, found.type, found.country) == (None, None, None)


# Pages


def test_pages_are_described_in_batches_without_those_that_are_gone():
    articles = [
        Article(i, f"Page {i}", revision=i, length=10 * i, wikidata=f"Q{i}" if i % 2 else None) for i in range(1, 121)
    ]
    articles += [Article(130, "Oasis", is_disambiguation=True), Article(131, "Old name", redirects_to="Page 1")]
    with WikiDouble(articles) as double:
        wiki, _ = make_wiki(double)
        pages = wiki.describe([*range(120, 0, -1), 7, 130, 131, 132])
        assert sorted(pages) == [*range(1, 121), 130]
        assert [len(q["pageids"].split("|")) for q in double.asked(pageids="")] == [50, 50, 23]
        assert (pages[7].url, pages[7].length, pages[7].revision) == ("https://wiki.example/wiki/Page_7", 70, 7)
        assert (pages[7].wikidata, pages[8].wikidata) == ("Q7", None)
        assert [page_id for page_id, page in pages.items() if page.is_disambiguation] == [130]
        assert wiki.describe([]) == {}


def test_properties_that_come_in_a_later_round_are_merged():
    articles = [Article(i, f"Page {i}", wikidata=f"Q{i}") for i in range(1, 31)]
    with WikiDouble(articles) as double:
        double.late = {"pageprops"}
        wiki, _ = make_wiki(double)
        pages = wiki.describe(range(1, 31))
        assert [page.wikidata for page in pages.values()] == [f"Q{i}" for i in range(1, 31)]
        assert len(double.asked(ppcontinue="0")) == 1


@pytest.mark.parametrize("at_once", [20, 7, 1])
def test_extracts_are_read_to_the_last_round(at_once):
    articles = [Article(i, f"Page {i}", extract=f"Page {i} ( ) is a village .") for i in range(1, 29)]
    articles += [Article(29, "Module", extract=None), Article(30, "Empty", extract="")]
    with WikiDouble(articles) as double:
        double.extracts_at_once = at_once
        wiki, _ = make_wiki(double)
        texts = wiki.extracts(range(1, 32))
        assert texts == {i: f"Page {i} is a village." for i in range(1, 29)} | {30: ""}
        assert len(double.server.requests) == math.ceil(20 / at_once) + math.ceil(10 / at_once)


def test_an_answer_that_is_continued_for_ever_is_an_error(monkeypatch):
    monkeypatch.setattr(mediawiki, "MAX_ROUNDS", 4)
    with WikiDouble([Article(i, f"Page {i}") for i in range(1, 21)]) as double:
        double.extracts_at_once = 1
        wiki, _ = make_wiki(double)
        with pytest.raises(ServiceError, match="continued 4 times"):
            wiki.extracts(range(1, 21))


# Faults

FAULTS = {
    "429": Fault("status", 2, status=429), "429, wait": Fault("status", 2, status=429, headers={"Retry-After": "3"}),
    "500": Fault("status", 3, status=500), "502": Fault("status", 3, status=502), "503": Fault("status", 3, status=503),
    "504": Fault("status", 3, status=504, body=b"upstream request timeout"), "reset": Fault("reset", 2),
    "time-out": Fault("timeout", 1), "truncated": Fault("truncated", 2), "wrong length": Fault("wrong_length", 2),
    "HTML": Fault("html", 2), "other JSON": Fault("status", 2, status=200, body=b'{"message": "hello"}'),
    "a list": Fault("status", 2, status=200, body=b"[]"), "nothing": Fault("status", 2, status=200, body=b""),
    "half an entry": Fault("status", 2, status=200, body=b'{"query": {"geosearch": [{"pageid": 1}]}}'),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_transient_is_asked_again_until_it_succeeds(name):
    fault = Fault(**vars(FAULTS[name]))
    times = fault.times
    with WikiDouble([Article(1, "Wiltz", 6.01, 49.61)]) as double:
        double.server.faults.append(fault)
        wiki, waits = make_wiki(double)
        assert [a.title for a in wiki.search_box(BOX)] == ["Wiltz"]
        assert len(double.server.requests) == times + 1
        assert (max(waits) >= 3) == ("Retry-After" in fault.headers)


def test_a_lagging_service_is_waited_for_as_long_as_it_says():
    with WikiDouble([Article(1, "Wiltz", 6.01, 49.61)]) as double:
        double.lag(2)
        wiki, waits = make_wiki(double)
        assert wiki.search_box(BOX)
        assert 7.25 <= max(waits) < 7.3
        double.lag(1, status=503)
        waits.clear()
        assert wiki.describe([1])
        assert 5 <= max(waits) < 5.1
        assert all(query["maxlag"] == "5" for query in double.asked())


@pytest.mark.parametrize(
    "code", ["ratelimited", "readonly", "internal_api_error_DBQueryError", "cirrussearch-too-busy-error"]
)
def test_errors_that_pass_are_asked_again(code):
    with WikiDouble([Article(1, "Wiltz")]) as double:
        double.refuse(code, 2)
        wiki, _ = make_wiki(double)
        assert wiki.extracts([1]) == {1: ""}
        double.refuse(code, 99)
        with pytest.raises(ServiceError, match=f"failed 5 times, last with: {code}: The info") as caught:
            wiki.extracts([1])
        assert caught.value.retryable


def test_other_errors_end_it_with_code_and_info():
    with WikiDouble([]) as double:
        double.refuse("toobig", 99)
        wiki, _ = make_wiki(double)
        with pytest.raises(ServiceError, match=r"wikipedia: toobig: The info of toobig\.") as caught:
            wiki.search_box(BOX)
        assert (caught.value.retryable, len(double.server.requests)) == (False, 1)


def test_a_refusal_of_the_user_agent_names_the_remedy():
    with WikiDouble([]) as double:
        double.server.faults.append(
            Fault("status", 99, status=403, body=b"Please set a user-agent and respect our robot policy")
        )
        wiki, _ = make_wiki(double)
        with pytest.raises(ServiceError, match=r"give --contact.*robot policy") as caught:
            wiki.search_box(BOX)
        assert (caught.value.status, len(double.server.requests)) == (403, 1)
        double.server.faults[:] = [Fault("status", 1, status=403, body=b"blocked")]
        with pytest.raises(ServiceError, match="HTTP 403: blocked"):
            wiki.search_box(BOX)


def test_our_user_agent_is_let_in_and_a_library_is_not():
    with WikiDouble([]) as double:
        make_wiki(double)[0].search_box(BOX)
        assert "me@example.org" in double.server.requests[0].headers["user-agent"]
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(f"{double.root}?action=query")


def test_a_second_run_asks_nothing_again_and_no_error_is_kept(tmp_path):
    with WikiDouble([Article(1, "Wiltz", 6.01, 49.61)]) as double:
        double.lag(1)
        first = make_wiki(double, cache=str(tmp_path))[0].search_box(BOX)
        sent = len(double.server.requests)
        assert make_wiki(double, cache=str(tmp_path))[0].search_box(BOX) == first != []
        assert len(double.server.requests) == sent == 2


def test_a_wiki_is_asked_in_its_language_where_the_address_has_a_place_for_it():
    with WikiDouble({"en": [], "lb": [Article(1, "Wolz", 6.01, 49.61)]}) as double:
        assert [a.title for a in make_wiki(double, "lb")[0].search_box(BOX)] == ["Wolz"]
        assert make_wiki(double, "en")[0].search_box(BOX) == []
        assert double.server.paths() == ["/lb/w/api.php", "/en/w/api.php"]


# The double itself, by its own rules


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"list": "geosearch", "gscoord": "0|0", "gsradius": "10001"}, "outofrange"),
        ({"list": "geosearch", "gscoord": "-9999|0"}, "invalid-coord"), ({"list": "geosearch", "gsbbox": "50|6|49|7"}, "toobig"),
        ({"list": "geosearch", "gsbbox": "49|6|50|7"}, "invalid-bbox"), ({"list": "geosearch"}, "missingparam"),
        ({"pageids": "|".join(map(str, range(51)))}, "toomanyvalues"), ({"gscoord": "x|0", "list": "geosearch"}, "invalid-coord"),
    ],
)  # fmt: skip
def test_the_double_refuses_as_the_service_does(params, code):
    with WikiDouble([]) as double:
        assert ask(double, **params)["error"]["code"] == code


def ask(double, **params):
    query = urlencode({"action": "query", "format": "json", "formatversion": 2, **params})
    request = urllib.request.Request(f"{double.root}?{query}", headers={"User-Agent": "tests (me@example.org)"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def test_the_double_has_the_limits_of_the_service():
    articles = [Article(i, f"Page {i}", 6.0, 49.6, "Text.", secondary=((6.0, 49.6),)) for i in range(1, 600)]
    with WikiDouble([*articles, Article(600, "Old", redirects_to="Page 1")]) as double:
        clamped = ask(double, list="geosearch", gscoord="49.6|6", gslimit=501)
        assert len(clamped["query"]["geosearch"]) == 500
        assert "must be between" in clamped["warnings"]["geosearch"]["warnings"]
        assert len(ask(double, list="geosearch", gscoord="49.6|6")["query"]["geosearch"]) == 10
        ids = "|".join(map(str, range(1, 30)))
        first = ask(double, pageids=ids, prop="coordinates|info")
        assert sum("coordinates" in page for page in first["query"]["pages"]) == 10
        assert first["continue"] == {"cocontinue": "11|0", "continue": "||info"}
        again = ask(double, pageids=ids, prop="coordinates|info", **first["continue"])
        assert len(again["query"]["pages"]) == 29
        assert not any("length" in page for page in again["query"]["pages"])
        extracts = ask(double, pageids=ids, prop="extracts", exintro=1)
        assert (sum("extract" in p for p in extracts["query"]["pages"]), extracts["continue"]["excontinue"]) == (20, 20)
        assert sum("extract" in p for p in ask(double, pageids=ids, prop="extracts")["query"]["pages"]) == 1
        titles = ask(double, titles="old|Nowhere", redirects=1, prop="info")["query"]
        assert (titles["redirects"], titles["normalized"][0]["to"]) == ([{"from": "Old", "to": "Page 1"}], "Old")
        assert [page.get("missing", False) for page in titles["pages"]] == [False, True]
        version_1 = ask(double, titles="Old|Nowhere", formatversion=1)["query"]["pages"]
        assert version_1["-2"]["missing"] == ""
