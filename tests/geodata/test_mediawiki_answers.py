import json
import logging

import pytest

from geodata.services.mediawiki import (
    clean_extract,
    describe_page,
    is_gone,
    merge_pages,
    parse_body,
    parse_found,
    parse_round,
)
from geodata.services.session import Answer, ServiceError, Transient
from tests.runs import SHARED

RECORDINGS = SHARED / "recordings" / "mediawiki"
recorded = pytest.mark.skipif(not RECORDINGS.is_dir(), reason="../shared/data is not beside this checkout")
ERRORS = ("2017-geosearch-0.json", "error-invalid-coord.json")


def read(name):
    return parse_body(Answer(200, {}, (RECORDINGS / name).read_bytes()))


def read_pages(*names):
    pages = {}
    for name in names:
        merge_pages(pages, parse_round(read(name))[0])
    return pages


@recorded
@pytest.mark.parametrize("path", sorted(RECORDINGS.glob("*.json")), ids=lambda path: path.name)
def test_every_recorded_answer_is_read_or_refused_with_its_code(path):
    if path.name in ERRORS:
        with pytest.raises(ServiceError, match=r"gs_invalid-coord: Invalid coordinate provided") as caught:
            read(path.name)
        assert not caught.value.retryable
        return
    body, raw = read(path.name), json.loads(path.read_text())
    count, found = parse_found(body)
    entries = raw["query"].get("geosearch", [])
    assert count == len(found) == len(entries)
    assert [(a.page_id, a.title, a.lon, a.lat) for a in found] == [
        (e["pageid"], e["title"], e["lon"], e["lat"]) for e in entries
    ]
    pages, following = parse_round(body)
    expected = raw["query"].get("pages", [])
    assert pages == list(expected.values() if isinstance(expected, dict) else expected)
    assert (following is None) == (path.name != "images-continue-0.json")


@recorded
def test_recorded_disambiguations_are_told_and_articles_are_not():
    names = "2017-disambiguation-pageprops-0.json", "legacy2014-disambig.json", "legacy2014-redirect.json"
    pages = {n: describe_page(p) for n in (*names, "info-existing-page.json") for p in read_pages(n).values()}
    assert [page.is_disambiguation for page in pages.values()] == [True, True, False, False]
    python = pages["info-existing-page.json"]
    assert (python.page_id, python.revision, python.length) == (23862, 1345336232, 140415)
    assert python.url == "https://en.wikipedia.org/wiki/Python_(programming_language)"


@recorded
def test_format_version_2_is_read_with_its_properties():
    page = read_pages("combined-fv2-extracts-pageprops-continue.json")[8091]
    assert not is_gone(page)
    assert (describe_page(page).wikidata, describe_page(page).title) == ("Q42", "Douglas Adams")


@recorded
def test_recorded_missing_pages_are_none():
    for name in ("info-missing-page.json", "imageinfo-missing-file.json", "legacy2014-missing.json"):
        assert read_pages(name) == {}


@recorded
def test_recorded_rounds_are_merged_by_page():
    pages = read_pages("images-continue-0.json", "images-continue-1.json")
    assert len(pages[23862]["images"]) == 16


@recorded
def test_recorded_coordinates_and_extracts_come_with_their_pages():
    assert [p["coordinates"][0]["lat"] for p in read_pages("coordinates-two-pages.json").values()] == [
        51.50722222,
        48.8567,
    ]
    assert "coordinates" not in read_pages("coordinates-none.json")[17867]
    for name in (
        "2017-exchars-0.json",
        "2017-exsentences-0.json",
        "legacy2014-exintro.json",
        "extracts-one-page-full.json",
    ):
        (page,) = read_pages(name).values()
        text = clean_extract(page["extract"])
        assert text == clean_extract(text) == text.strip()
        assert len(text) > 0.98 * len(page["extract"].strip()) - 20
        assert not {"  ", "\n\n", "()"} & {text[i : i + 2] for i in range(len(text))}


@pytest.mark.parametrize(
    ("extract", "text"),
    [
        ("Wiltz () is a town.", "Wiltz is a town."), ("Wiltz ( , ) is", "Wiltz is"), ("Wiltz (; ) is", "Wiltz is"),
        ("Wiltz (; born 963)", "Wiltz (born 963)"), ("a  town\n\n\nof  Wiltz \n", "a town\nof Wiltz"),
        ("Wu\u0308rzburg", "W\u00fcrzburg"), ("Ga, (pop. 12), b", "Ga, (pop. 12), b"), ("", ""),
    ],
)  # fmt: skip
def test_holes_of_an_extract_are_closed(extract, text):
    assert clean_extract(extract) == text
    assert clean_extract(text) == text


def test_warnings_are_told_at_debug_level_only(caplog):
    body = {"batchcomplete": True, "warnings": {"main": {"warnings": "Subscribe."}}}
    with caplog.at_level(logging.DEBUG):
        parse_body(Answer(200, {}, json.dumps(body).encode()))
    assert [(r.levelname, "Subscribe." in r.message) for r in caplog.records] == [("DEBUG", True)]


def test_html_is_no_answer():
    with pytest.raises(Transient, match="no JSON"):
        parse_body(Answer(200, {"content-type": "text/html"}, b"<html>"))
