import base64
import http.client
import io
import json
import re
import subprocess
import sys
from dataclasses import replace
from email.message import Message
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from geodata.grid import make_grid, pixel_position
from geodata.raster import Raster
from pipelines import explore
from pipelines.exploring import facts as facts_module
from pipelines.exploring import pictures
from pipelines.exploring.facts import read_facts
from pipelines.exploring.pack import pack_places, script
from pipelines.exploring.place import describe_place
from pipelines.exploring.server import Server
from pipelines.exploring.site import FIXED, MADE, ExportError, export, fixed_files, open_site, place_path
from schemas.corpus import CorpusError
from schemas.modality import MODALITIES, SENTINEL2_BANDS
from tests.pipelines.hand_made import write_corpus
from tests.runs import ROOT
from tests.serving import serve

KINDS = {"u1": np.uint8, "u2": np.uint16, "i2": np.int16, "u4": np.uint32, "f4": np.float32}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explore") / "corpus"
    return folder, write_corpus(folder)


@pytest.fixture(scope="module")
def site(made):
    return open_site(str(made[0]))


def read_script(payload: bytes):
    """What the page gets from a script."""
    name, text = re.fullmatch(r"sameplace\.put\((\".*?\"), (\".*\")\);\n", payload.decode(), re.S).groups()
    return json.loads(name), json.loads(json.loads(text))


def unpack(column):
    return np.frombuffer(base64.b64decode(column[1]), KINDS[column[0]])


def test_columns_say_what_index_and_records_say(site, made):
    name, packed = read_script(site.read("data/places.js"))
    columns, words = {key: unpack(value) for key, value in packed["columns"].items()}, packed["words"]
    samples = made[1]
    assert name == "places" and packed["number"] == len(samples)
    keys = columns["key_high"].astype(np.uint64) << np.uint64(32) | columns["key_low"].astype(np.uint64)
    assert [f"{key:x}" for key in keys.tolist()] == [sample.key for sample in samples]
    np.testing.assert_allclose(columns["lon"], [sample.lon for sample in samples], atol=1e-5)
    assert [words["split"][code] for code in columns["split"]] == [sample.split for sample in samples]
    for row, sample in enumerate(samples):
        views = {name for bit, name in enumerate(words["views"]) if columns["views"][row] >> bit & 1}
        assert views == {one.modality for one in sample.observations}
        for name in MODALITIES:
            one, day = sample.first(name), int(columns[f"{name}_date"][row])
            assert (one is None) == (columns[f"{name}_licence"][row] == 255) == (day == -32768)
            assert one is None or day == one.captured_at.timestamp() // 86400
    assert columns["cloud"][:3].tolist() == [0, 2, 4] and columns["cloud"][-1] == 255
    assert 290 < columns["elevation"][0] < 310 and columns["elevation"][-1] == -32768
    assert columns["country"].tolist() == [255] + [0] * (len(samples) - 1) and packed["countries"] == ["France"]


def test_many_words_get_two_bytes(made):
    places, facts = read_facts(str(made[0]))
    rows = 300
    places = pa.concat_tables([places.slice(0, 1)] * rows)
    facts = pa.concat_tables([facts.slice(0, 1)] * rows)
    column = facts.schema.get_field_index("text_licence")
    facts = facts.set_column(column, "text_licence", pa.array([f"licence {n}" for n in range(rows)]))
    packed = pack_places(places, facts)
    kind = packed["columns"]["text_licence"][0]
    codes = unpack(packed["columns"]["text_licence"])
    assert kind == "u2" and [packed["words"]["licence"][code] for code in codes] == [
        f"licence {n}" for n in range(rows)
    ]


def test_processes_and_cache_give_the_same_facts(made, tmp_path, monkeypatch):
    monkeypatch.setattr(facts_module, "PLACES_A_PROCESS", 1)
    corpus, told = str(made[0]), []
    _, alone = read_facts(corpus, report=told.append)
    _, together = read_facts(corpus, workers=2, cache=str(tmp_path))
    _, cached = read_facts(corpus, cache=str(tmp_path), report=lambda _: pytest.fail("nothing is read again"))
    assert alone.equals(together) and alone.equals(cached) and sum(told) == len(made[1])
    kept = next(tmp_path.iterdir())
    kept.write_bytes(kept.read_bytes()[:100])
    assert read_facts(corpus, cache=str(tmp_path))[1].equals(alone)


def test_damage_is_named(tmp_path):
    samples = write_corpus(tmp_path / "corpus", places=3)
    row = pq.read_table(tmp_path / "corpus/index.parquet").to_pylist()[0]
    shard = tmp_path / "corpus" / row["shard"]
    record = next(member for member in row["members"] if member["name"].endswith(".json"))
    block = bytearray(shard.read_bytes())
    block[record["offset"] : record["offset"] + 1] = b"x"
    shard.write_bytes(block)
    with pytest.raises(CorpusError, match=rf"{samples[0].key}.*pipelines\.verify"):
        open_site(str(tmp_path / "corpus"))


def test_a_place_shows_five_pictures_and_where_the_photo_lies(site, made):
    sample = made[1][0]
    name, place = read_script(site.read(place_path(sample.key)))
    assert name == f"place {sample.key}"
    found = [(one["modality"], picture["kind"]) for one in place["observations"] for picture in one["pictures"]]
    assert found == [
        ("sentinel2", "true colour"), ("sentinel2", "false colour"), ("aerial", "aerial image"), ("dem", "relief"),
        ("street", "photo"),
    ]  # fmt: skip
    for one in place["observations"]:
        for picture in one["pictures"]:
            media, _, data = picture["src"].partition(";base64,")
            with Image.open(io.BytesIO(base64.b64decode(data))) as image:
                assert media == f"data:image/{image.format.lower()}"
        assert (one["licence"], one["credit"]) == ("CC0-1.0", "tests")
    patch, photo = place["observations"][0], sample.street
    mark = next(mark for mark in patch["marks"] if mark["modality"] == "street")
    column, row = pixel_position(make_grid(sample.key, "sentinel2"), photo.lon, photo.lat)
    assert mark == {"modality": "street", "at": [round(column / 128, 5), round(row / 128, 5)], "heading": 90.0}
    inside = np.array(patch["hexagon"])
    assert (inside.min(axis=0) < mark["at"]).all() and (inside.max(axis=0) > mark["at"]).all()


def test_a_missing_view_says_why(site, made):
    _, place = read_script(site.read(place_path(made[1][-2].key)))
    assert "aerial" not in {one["modality"] for one in place["observations"]}
    assert [(drop["modality"], drop["reason"], drop["detail"]) for drop in place["drops"]] == [
        ("aerial", "nodata", "covers 0.3 of the hexagon")
    ]


def test_drops_are_counted_and_a_few_shown(site):
    _, summary = read_script(site.read("data/corpus.js"))
    groups = [
        (drop["modality"], drop["stage"], drop["reason"], drop["count"], len(drop["examples"]))
        for drop in summary["drops"]
    ]
    assert groups == [("text", "find", "stub", 40, 12), ("aerial", "choose", "nodata", 1, 1)]


def test_a_view_that_cannot_be_drawn_says_so(made):
    sample = made[1][0]
    broken = [replace(one, payload=b"no raster") if one.modality == "dem" else one for one in sample.observations]
    place = describe_place(replace(sample, observations=tuple(broken)), [])
    shown = {one["modality"]: one for one in place["observations"]}
    assert shown["dem"]["damage"].startswith("cannot be drawn") and len(shown["sentinel2"]["pictures"]) == 2


def test_scripts_hold_data_and_no_code():
    value = {"__proto__": "</script><script>alert(1)</script>", "quote": "\"');\u2028\u202e\U0001f600"}
    payload = script("x", value)
    assert read_script(payload) == ("x", value)
    assert payload.isascii() and payload.count(b"\n") == 1


def _raster(values, valid=None, kind="sentinel2"):
    grid = make_grid("8a1fa8b13017fff", kind)
    full = np.broadcast_to(values, (values.shape[0], *grid.shape)).astype(MODALITIES[kind].dtype)
    return Raster(full, np.ones(grid.shape, bool) if valid is None else valid, grid)


def test_true_colour_puts_red_light_into_red_and_gaps_are_clear():
    bands = np.zeros((12, 128, 128))
    bands[SENTINEL2_BANDS.index("B04")] = 3000
    bands[SENTINEL2_BANDS.index("B08"), :, 64:] = 5000
    valid = np.ones((128, 128), bool)
    valid[:10] = False
    true, false = (
        np.asarray(draw(_raster(bands, valid))) for draw in (pictures.draw_true_colour, pictures.draw_false_colour)
    )
    assert true[50, 50].tolist() == [255, 0, 0, 255] and (true[:10, :, 3] == 0).all()
    assert (false[50, 100, 0], false[50, 20, 0]) == (255, 0)


def test_slopes_towards_the_light_are_brighter():
    ridge = 500.0 - np.abs(np.add.outer(np.arange(128.0), np.arange(128.0)) - 127)  # runs from south-west to north-east
    picture, steeper = pictures.draw_relief(_raster(10 * ridge[None], kind="dem"))
    grey = np.asarray(picture)[..., :3].mean(axis=2)
    assert steeper == 1.0 and grey[30, 30] > grey[100, 100] + 30
    flat, _ = pictures.draw_relief(_raster(np.full((1, 128, 128), 5.0), kind="dem"))
    assert len(np.unique(np.asarray(flat).reshape(-1, 4), axis=0)) == 1


def test_gentle_slopes_are_steepened():
    plain = np.arange(128.0)[None, None] * np.ones((1, 128, 1))  # one metre in ten
    assert pictures.draw_relief(_raster(0.1 * plain, kind="dem"))[1] == pytest.approx(20)
    assert pictures.draw_relief(_raster(plain, kind="dem"))[1] == pytest.approx(3.5)


def test_a_patch_without_data_is_clear():
    nothing = np.zeros((128, 128), bool)
    assert np.asarray(pictures.draw_relief(_raster(np.zeros((1, 128, 128)), nothing, "dem"))[0])[..., 3].max() == 0
    assert np.asarray(pictures.draw_true_colour(_raster(np.zeros((12, 128, 128)), nothing)))[..., 3].max() == 0


def test_an_export_has_what_is_served(site, made, tmp_path):
    target = tmp_path / "site"
    assert sum(export(site, str(target), previews=2, threads=2)) == len(made[1])
    for path in (*FIXED, *MADE):
        assert (target / path).read_bytes() == site.read(path)
    drawn = [key for key in site.keys if read_script((target / place_path(key)).read_bytes())[1]["pictures"]]
    assert len(drawn) == 2
    assert (target / place_path(drawn[0])).read_bytes() == site.read(place_path(drawn[0]))
    list(export(site, str(target), previews=0))  # over an earlier one
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.tex").touch()
    for folder in ("mine", "mine/thesis.tex"):
        with pytest.raises(ExportError, match="holds something else"):
            list(export(site, str(tmp_path / folder), previews=0))


@pytest.fixture
def server(site):
    with serve(Server(site, 0)) as running:
        yield running


def _ask(server, path: str, host: str | None = None) -> tuple[int, Message, bytes]:
    connection = http.client.HTTPConnection(*server.server_address, timeout=10)
    connection.request("GET", path, headers={"Host": host or f"127.0.0.1:{server.server_address[1]}"})
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read()


def test_the_server_answers_with_a_policy_that_forbids_all_else(server, made):
    for path in ("/", "/page.js", "/data/corpus.js", f"/{place_path(made[1][0].key)}", "/nothing"):
        status, headers, _ = _ask(server, path)
        assert status == (404 if path == "/nothing" else 200)
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self';")
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert _ask(server, "/")[1]["Content-Type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize(
    "path",
    [
        "/../facts.py", "/%2e%2e/facts.py", "/places/../page.js", "/etc/passwd", "/places/0/8a1fa8b13017fff.js",
        "/manifest.json", "/places/%00.js", "/index.html/",
    ],
)  # fmt: skip
def test_only_files_of_the_site_are_answered(server, path):
    assert _ask(server, path)[0] == 404


def test_other_names_of_this_machine_are_refused(server):
    assert [_ask(server, "/", host)[0] for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example")] == [
        403
    ] * 3
    assert [_ask(server, "/", host)[0] for host in ("localhost", "localhost:80")] == [200, 200]
    assert server.server_address[0] == "127.0.0.1"


def test_the_command_serves_and_exports(made, tmp_path, capsys):
    corpus = str(made[0])
    assert explore.main([corpus, "--export", str(tmp_path / "site"), "--cache", "", "--workers", "1"]) == 0
    assert capsys.readouterr().out.strip() == (tmp_path / "site/index.html").as_uri()
    command = [sys.executable, "-m", "pipelines.explore", corpus, "--port", "0", "--cache", "", "--workers", "1"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            address = process.stdout.readline().split()[0]
            with urlopen(address, timeout=20) as answer:
                assert answer.read() == fixed_files()["index.html"]
        finally:
            process.terminate()


def test_the_command_speaks_in_sentences(made, tmp_path, server, capsys):
    corpus = str(made[0])
    port = str(server.server_address[1])
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    for arguments, words in (
        ([str(tmp_path / "nowhere")], "holds no corpus"),
        ([corpus, "--export", str(tmp_path / "full"), "--cache", ""], "name a new or an empty folder"),
        ([corpus, "--port", port, "--cache", ""], "--port 0 for a free one"),
    ):
        assert explore.main(arguments) == 1
        said = capsys.readouterr().err.strip().splitlines()[-1]
        assert said.startswith("error: ") and words in said and said.endswith(".")
    for arguments in (["--workers", "0"], ["--port", "70000"], ["--previews", "-1"]):
        with pytest.raises(SystemExit):
            explore.main([corpus, *arguments])


def test_the_page_names_every_file_of_the_site_and_nothing_from_elsewhere():
    files = fixed_files()
    folders = (ROOT / "pipelines/exploring/site", ROOT / "schemas/page/site")
    assert {path.name for folder in folders for path in folder.iterdir()} == set(files)
    page = files["index.html"].decode()
    assert set(re.findall(r"(?:src|href)=\"([^\"]+)\"", page)) == set(files) - {"index.html"}
    for name, payload in files.items():
        for address in re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}", payload.decode()):
            known = ("http://www.w3.org", "https://www.mapillary.com")  # names of SVG, and a link
            assert address in known, f"{name} names {address}"
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", payload.decode()
        ), name


@pytest.mark.parametrize("package", ["pipelines.exploring", "schemas.page", "training.exploring"])
def test_the_site_lies_in_the_package(package):
    text = (Path(ROOT) / "pyproject.toml").read_text()
    assert f'"{package}" = ["site/*"]' in text and f'"{package}"' in text.partition("package-data")[0]


def test_a_corpus_without_drops_or_elevations_is_shown(tmp_path):
    write_corpus(tmp_path / "corpus", places=3)
    table = pq.read_table(tmp_path / "corpus/drops.parquet")
    pq.write_table(table.slice(0, 0), tmp_path / "corpus/drops.parquet")
    _, summary = read_script(open_site(str(tmp_path / "corpus")).read("data/corpus.js"))
    assert summary["drops"] == []
