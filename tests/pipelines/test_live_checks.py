"""What is said before a live build begins, and by the doctor. Nothing here leaves the machine."""

import json
import time

import pytest

from geodata.sources import SourceError
from geodata.sources.live import TOKEN
from pipelines.plan.options import OptionError, Options
from pipelines.sources.live import anchor_source, check_contact, check_services, resolve_sources
from tests.runs import run_build, run_module
from tests.services.server import LoopbackServer, Reply

NOBODY = "http://127.0.0.1:9"
CLOSED = ("stac", "sas", "wikipedia", "mapillary", "mapillary_tiles")


def make_options(**more):
    return Options(**{"region": "LU", "output": "x", "contact": "me@example.org", **more})


def closed(*names):
    return tuple(f"{name}={NOBODY}" for name in names)


@pytest.fixture
def answering():
    with LoopbackServer(lambda request: Reply(200, b"{}")) as server:
        yield server


def test_offline_a_build_ends_at_once_with_one_sentence(tmp_path):
    start = time.monotonic()
    endpoints = [part for text in closed(*CLOSED) for part in ("--endpoint", text)]
    said = run_build("--region", "europe", "--output", tmp_path / "out", *endpoints, expect=1, limit_s=60)
    assert time.monotonic() - start < 30  # most of it is loading
    lines = [line for line in said.splitlines() if not line.startswith("note:")]
    assert len(lines) == 1
    assert "The service stac at 127.0.0.1:9 could not be reached" in lines[0]
    assert "make corpus alone (REGION=demo) needs no network" in lines[0]
    assert not (tmp_path / "out").exists()


def test_without_a_token_street_is_left_out_with_a_sentence(monkeypatch):
    monkeypatch.delenv(TOKEN, raising=False)
    specs, notes = resolve_sources(make_options())
    assert [spec.name for spec in specs] == ["planetary-computer", "orthophotos", "copernicus-dem", "wikipedia"]
    assert len(notes) == 1
    assert TOKEN in notes[0]
    assert "mapillary.com" in notes[0]
    with pytest.raises(OptionError, match="--require street needs it"):
        resolve_sources(make_options(require="street"))


def test_with_a_token_all_five_are_there_and_photos_are_the_anchors(monkeypatch):
    monkeypatch.setenv(TOKEN, "MLY|1|2")
    options = make_options()
    specs, notes = resolve_sources(options)
    assert len(specs) == 5
    assert notes == []
    assert anchor_source(options, specs) == "mapillary"
    assert anchor_source(make_options(anchors="article"), specs) == "wikipedia"
    with pytest.raises(OptionError, match="No live source offers the anchors 'raster'"):
        anchor_source(make_options(anchors="raster"), specs)


def test_without_a_token_articles_are_the_anchors(monkeypatch):
    monkeypatch.delenv(TOKEN, raising=False)
    options = make_options(sentinel2="earth-search")
    specs, _ = resolve_sources(options)
    assert specs[0].name == "earth-search"
    assert anchor_source(options, specs) == "wikipedia"
    with pytest.raises(OptionError, match="'photo'"):
        anchor_source(make_options(anchors="photo"), specs)


def test_articles_need_a_contact(monkeypatch):
    monkeypatch.delenv(TOKEN, raising=False)
    options = make_options(contact="")
    specs, _ = resolve_sources(options)
    with pytest.raises(OptionError, match="give --contact you@example"):
        check_contact(options, specs)
    options = make_options(contact="", modalities="sentinel2,dem")
    check_contact(options, resolve_sources(options)[0])


def test_one_silent_service_is_a_note_unless_the_build_needs_it(monkeypatch, answering):
    monkeypatch.setenv(TOKEN, "MLY|1|2")
    there = tuple(f"{name}={answering.root}" for name in CLOSED if name != "wikipedia")
    options = make_options(endpoint=(*there, *closed("wikipedia")))
    specs, _ = resolve_sources(options)
    notes = check_services(options, specs)
    assert len(notes) == 1
    assert "wikipedia at 127.0.0.1:9 could not be reached" in notes[0]
    assert "--retry_failed" in notes[0]
    needed = make_options(endpoint=options.endpoint, require="text")
    with pytest.raises(SourceError, match="wikipedia"):
        check_services(needed, specs)
    anchored = make_options(endpoint=options.endpoint, anchors="article")
    with pytest.raises(SourceError, match="wikipedia"):
        check_services(anchored, specs)


def test_the_token_goes_to_mapillary_alone(monkeypatch, answering):
    monkeypatch.setenv(TOKEN, "MLY|1|secret")
    options = make_options(endpoint=tuple(f"{name}={answering.root}/{name}" for name in CLOSED))
    check_services(options, resolve_sources(options)[0])
    assert len(answering.requests) == 4
    for request in answering.requests:
        assert "secret" not in request.line
        assert ("authorization" in request.headers) == request.path.startswith("/mapillary")


@pytest.mark.parametrize("status", [401, 400, 500])
def test_a_refused_token_stops_the_build_before_it_begins(monkeypatch, status):
    monkeypatch.setenv(TOKEN, "MLY|1|2")
    body = json.dumps({"error": {"code": 190, "message": "Invalid OAuth 2.0 Access Token"}}).encode()
    with LoopbackServer(lambda r: Reply(status if "mapillary" in r.path else 200, body)) as server:
        options = make_options(endpoint=tuple(f"{name}={server.root}/{name}" for name in CLOSED))
        with pytest.raises(SourceError, match="MAPILLARY_TOKEN is refused") as caught:
            check_services(options, resolve_sources(options)[0])
    assert "MLY|1|2" not in str(caught.value)


def test_a_token_is_freed_of_its_line_end_and_checked(monkeypatch, answering):
    monkeypatch.setenv(TOKEN, "MLY|1|2\n")
    options = make_options(endpoint=tuple(f"{name}={answering.root}" for name in CLOSED))
    assert check_services(options, resolve_sources(options)[0]) == []
    for bad in ("MLY 1 2", "MLY|é"):
        monkeypatch.setenv(TOKEN, bad)
        with pytest.raises(SourceError, match="copy it anew"):
            resolve_sources(options)


def test_a_service_that_forbids_is_as_good_as_silent(monkeypatch):
    monkeypatch.delenv(TOKEN, raising=False)
    with LoopbackServer(lambda r: Reply(403 if "stac" in r.path else 200, b"banned")) as server:
        options = make_options(endpoint=tuple(f"{name}={server.root}/{name}" for name in CLOSED))
        notes = check_services(options, resolve_sources(options)[0])
        assert "stac" in notes[0]
        needed = make_options(endpoint=options.endpoint, require="sentinel2")
        with pytest.raises(SourceError, match="banned"):
            check_services(needed, resolve_sources(needed)[0])


def run_doctor(*arguments, token=""):
    return run_module("pipelines.doctor", *arguments, environment={TOKEN: token})


def test_the_doctor_says_what_is_missing_and_how_to_get_it():
    endpoints = [part for text in closed(*CLOSED) for part in ("--endpoint", text)]
    done = run_doctor("--region", "LU", *endpoints)
    assert done.returncode == 1
    rows = {line.split()[0]: line for line in done.stdout.splitlines()[1:] if line}
    assert "NO" in rows["stac"]
    assert "--endpoint" in rows["stac"]
    assert "of the land has open orthophotos (FR, LU)" in rows["aerial"]
    assert "free" in rows["disk"]


def test_the_doctor_is_content_where_all_answer(answering):
    endpoints = [part for name in CLOSED for part in ("--endpoint", f"{name}={answering.root}")]
    done = run_doctor("--region", "LU", "--contact", "me@example.org", *endpoints, token="MLY|1|2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "token accepted" in done.stdout
    assert "MLY|1|2" not in done.stdout + done.stderr
    done = run_doctor("--region", "LU", *endpoints)
    assert done.returncode == 1
    assert "no contact" in done.stdout
    assert "optional: MAPILLARY_TOKEN" in done.stdout


def test_the_doctor_sees_a_refused_token():
    body = json.dumps({"error": {"code": 190, "message": "Invalid OAuth 2.0 Access Token"}}).encode()
    with LoopbackServer(
        lambda request: Reply(401 if "image" in request.path or "vtp" in request.path else 200, body)
    ) as server:
        endpoints = [part for name in CLOSED for part in ("--endpoint", f"{name}={server.root}")]
        done = run_doctor("--region", "LU", "--contact", "me@example.org", *endpoints, token="MLY|1|2")
    assert done.returncode == 1
    assert "the token is refused" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--endpoint", "bing=http://x"], "names no service"), (["--rate", "stac=fast"], "is no rate"),
        (["--period", "2023"], "is no span of days"), (["--period", "2023-02-30/2023-03-01"], "holds a day that is none"),
        (["--period", "2023-05-01/2022-05-01"], "ends before it begins"), (["--wikipedia", "en,!"], "names no wiki"),
        (["--retry_failed"], "--retry_failed needs a corpus to mend"),
    ],
)  # fmt: skip
def test_bad_options_get_one_sentence(tmp_path, arguments, sentence):
    said = run_build("--region", "LU", "--output", tmp_path / "out", *arguments, expect=1, limit_s=60)
    assert said.startswith("error: ")
    assert sentence in said
    assert len(said.strip().splitlines()) == 1
