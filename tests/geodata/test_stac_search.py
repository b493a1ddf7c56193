import json

import pytest

from geodata.services import stac_api
from geodata.services.session import HttpSettings, ServiceError, Session
from geodata.services.stac_api import StacSearch
from tests.runs import SHARED
from tests.services.luxembourg import Gate
from tests.services.server import Fault, LoopbackServer, Reply
from tests.services.stac import StacServer, missing

RECORDINGS = SHARED / "recordings"
pytestmark = pytest.mark.skipif(not RECORDINGS.is_dir(), reason="../shared/data is not beside this checkout")
PACIFIC = (165.0, 50.0, 176.0, 60.0)
DAY = "2019-01-01/2019-01-02"


def read(name):
    return json.loads((RECORDINGS / name).read_text())


@pytest.fixture(scope="module")
def gate():
    if why := missing():
        pytest.skip(why)
    server = StacServer()
    naip = {f["id"]: f for i in range(3) for f in read(f"planetary-computer/naip-search-paging-{i}.json")["features"]}
    items = read("planetary-computer/s2l2a-search-datetime-10s.json")["features"] + list(naip.values())
    server.load(
        [read("planetary-computer/s2l2a-collection.json"), read("planetary-computer/naip-collection.json")], items
    )
    server.serve()
    gate = Gate(server.root)
    yield gate
    gate.server.close()
    server.close()


def make_search(gate, **more):
    session = Session(HttpSettings({"stac": gate.root}, patience_s=0, backoff_s=0.001, read_s=5, **more))
    return StacSearch(session), session


def test_a_search_is_followed_through_all_its_pages(gate, monkeypatch):
    monkeypatch.setattr(stac_api, "PAGE", 10)
    search, session = make_search(gate)
    found = search.find(["sentinel-2-l2a"], PACIFIC, period=DAY)
    assert len(found) == len({item["id"] for item in found}) == 33
    assert session.sent["stac"] in (6, 7)  # the landing page, its conformance, four pages, perhaps an empty one


def test_cloud_and_period_are_filtered_by_the_server(gate):
    search, _ = make_search(gate)
    expected = [
        item["id"]
        for item in read("planetary-computer/s2l2a-search-datetime-10s.json")["features"]
        if item["properties"]["eo:cloud_cover"] < 40
    ]
    found = search.find(["sentinel-2-l2a"], PACIFIC, period=DAY, query={"eo:cloud_cover": {"lt": 40}})
    assert [item["id"] for item in found] == sorted(expected)
    assert search.find(["sentinel-2-l2a"], PACIFIC, period="2020-01-01/2020-01-02") == []


def test_a_box_across_the_antimeridian_is_asked_for_in_two(gate):
    search, session = make_search(gate)
    assert len(search.find(["sentinel-2-l2a"], (165.0, 50.0, 190.0, 60.0), period=DAY)) == 33
    bodies = [json.loads(request.body) for request in gate.server.requests[-2:]]
    assert [body["bbox"][0] for body in bodies] == [165.0, -180.0]
    assert session.sent["stac"] == 4  # with the landing page and its conformance classes


@pytest.mark.parametrize(
    "fault",
    [
        Fault("status", 2, "/search", status=429, headers={"Retry-After": "0"}), Fault("status", 3, "/search", status=503),
        Fault("status", 2, "/search", status=504, body=b"The request exceeded the maximum allowed time"),
        Fault("status", 2, "/search", status=502), Fault("status", 1, "/search", status=500),
        Fault("reset", 2, "/search"), Fault("truncated", 2, "/search"), Fault("wrong_length", 1, "/search"),
        Fault("html", 2, "/search"), Fault("html", 1), Fault("reset", 1),
    ],
    ids=str,
)  # fmt: skip
def test_a_fault_loses_and_doubles_nothing(gate, fault, monkeypatch):
    monkeypatch.setattr(stac_api, "PAGE", 10)
    gate.server.faults.append(fault)
    search, _ = make_search(gate)
    found = search.find(["sentinel-2-l2a"], PACIFIC, period=DAY)
    assert len(found) == len({item["id"] for item in found}) == 33
    assert fault.times == 0


def test_a_time_out_is_asked_again(gate):
    gate.server.faults.append(Fault("timeout", 1, "/search"))
    gate.server.stall_s = 0.8
    session = Session(HttpSettings({"stac": gate.root}, patience_s=0, backoff_s=0.001, read_s=0.6))
    assert len(StacSearch(session).find(["naip"], (-180.0, -90.0, 180.0, 90.0))) == 30


def test_a_server_that_stays_down_is_a_service_error(gate):
    gate.server.faults.append(Fault("status", 5, "/search", status=503))
    search, _ = make_search(gate)
    with pytest.raises(ServiceError, match="HTTP 503") as caught:
        search.find(["naip"], PACIFIC)
    assert caught.value.retryable


def _pages(*pages):
    """A server of recorded pages; links point at it."""

    def handle(request):
        if request.method == "GET":
            landing = read("earth-search/landing-page.json")
            return Reply(
                200, json.dumps(landing).replace("https://earth-search.aws.element84.com/v1", server.root).encode()
            )
        page = pages[min(len(server.requests) - 2, len(pages) - 1)]
        return Reply(200, json.dumps(page).encode())

    server = LoopbackServer(handle)
    return server


def test_earth_searchs_empty_last_page_ends_the_search_even_with_links_to_the_original():
    pages = [read(f"earth-search/s2-landsat-point-search-{number}.json") for number in (0, 1)]
    with _pages(*pages) as server:
        session = Session(HttpSettings({"earth_search": server.root}, patience_s=0, backoff_s=0.001))
        found = StacSearch(session, "earth_search").find(
            ["sentinel-2-l2a", "landsat-c2-l2"], (-106.0, 40.0, -105.0, 41.0)
        )
        assert {item["id"] for item in found} == {item["id"] for item in pages[0]["features"]}
        assert len(server.requests) == 3
        assert json.loads(server.requests[-1].body)["next"]


def test_the_recorded_pages_of_the_planetary_computer_are_followed_by_their_tokens():
    pages = [read(f"planetary-computer/naip-search-paging-{number}.json") for number in range(3)]
    expected = {item["id"] for page in pages for item in page["features"]}
    pages[-1]["links"] = [link for link in pages[-1]["links"] if link["rel"] != "next"]
    with _pages(*pages) as server:
        root = "https://planetarycomputer.microsoft.com/api/stac/v1"
        for page in pages:
            page["links"] = json.loads(json.dumps(page["links"]).replace("http://", "https://"))
        session = Session(HttpSettings({"stac": server.root}, patience_s=0, backoff_s=0.001))
        found = StacSearch(session).find(["naip"], (-180.0, -90.0, 180.0, 90.0))
        assert {item["id"] for item in found} == expected
        assert len(expected) == 30
        tokens = [json.loads(request.body).get("token") for request in server.requests if request.method == "POST"]
        assert tokens[0] is None
        assert all(token.startswith("next:naip:") for token in tokens[1:])
        assert all(root in link["href"] for page in pages[:2] for link in page["links"] if link["rel"] == "next")


def test_a_recorded_empty_answer_is_no_item():
    with _pages(read("planetary-computer/search-empty.json")) as server:
        session = Session(HttpSettings({"earth_search": server.root}, patience_s=0, backoff_s=0.001))
        assert StacSearch(session, "earth_search").find(["aster-l1t"], (-180.0, -90.0, 180.0, 90.0)) == []


@pytest.mark.parametrize("name", ["planetary-computer/error-404-item.json", "earth-search/error-404-collection.json"])
def test_a_recorded_404_is_a_final_error(name):
    with LoopbackServer(lambda request: Reply(404, json.dumps(read(name)).encode())) as server:
        session = Session(HttpSettings({"stac": server.root}, patience_s=0, backoff_s=0.001))
        with pytest.raises(ServiceError, match=r"HTTP 404: .*[Nn]ot ?[Ff]ound") as caught:
            StacSearch(session).find(["naip"], PACIFIC)
        assert not caught.value.retryable
        assert len(server.requests) == 1


def test_an_empty_page_with_a_next_link_does_not_end_the_search():
    full, _ = (read(f"earth-search/s2-landsat-point-search-{number}.json") for number in (0, 1))
    empty = {**full, "features": []}
    last = {**full, "links": []}
    with _pages(empty, last) as server:
        session = Session(HttpSettings({"earth_search": server.root}, patience_s=0, backoff_s=0.001))
        assert StacSearch(session, "earth_search").find(["sentinel-2-l2a"], (-106.0, 40.0, -105.0, 41.0))


def test_a_server_that_walks_in_circles_is_left():
    full = read("earth-search/s2-landsat-point-search-0.json")
    with _pages({**full, "features": []}) as server:
        session = Session(HttpSettings({"earth_search": server.root}, patience_s=0, backoff_s=0.001))
        with pytest.raises(ServiceError, match="empty pages"):
            StacSearch(session, "earth_search").find(["sentinel-2-l2a"], (-106.0, 40.0, -105.0, 41.0))


def test_the_second_search_is_answered_by_the_cache(gate, tmp_path):
    search, first = make_search(gate, cache=str(tmp_path))
    found = search.find(["naip"], (-180.0, -90.0, 180.0, 90.0))
    again, second = make_search(gate, cache=str(tmp_path))
    assert again.find(["naip"], (-180.0, -90.0, 180.0, 90.0)) == found
    assert (first.sent["stac"] > 1, second.sent["stac"]) == (True, 0)


def test_what_is_no_stac_api_is_a_service_error():
    with LoopbackServer(lambda request: Reply(200, b'{"hello": "world"}')) as server:
        session = Session(HttpSettings({"stac": server.root}, patience_s=0, backoff_s=0.001))
        with pytest.raises(ServiceError, match="is no STAC API"):
            StacSearch(session).find(["naip"], PACIFIC)


def test_a_server_that_repeats_a_page_for_ever_is_left():
    full = read("earth-search/s2-landsat-point-search-0.json")
    with _pages(full) as server:
        session = Session(HttpSettings({"earth_search": server.root}, patience_s=0, backoff_s=0.001))
        with pytest.raises(ServiceError, match="old ones"):
            StacSearch(session, "earth_search").find(["sentinel-2-l2a"], (-106.0, 40.0, -105.0, 41.0))
