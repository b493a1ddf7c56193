import base64
import http.client
import io
import json

import numpy as np
import pytest
import simplejpeg

from schemas.corpus import CorpusError
from schemas.page import SHARED
from tests.serving import serve
from tests.training.data.makers import make_picture
from tests.training.untrained import make_corpus, make_run
from training import explore, load
from training.data.batch import VIEWS
from training.evaluation.maps import draw_true_colour, map_region
from training.exploring import gallery
from training.exploring.explorer import find_extent
from training.exploring.pictures import draw_picture, draw_relief
from training.exploring.server import FILES, MOST_BYTES, POLICY, Server
from training.inputs import InputError


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("explored") / "corpus", places=5)


@pytest.fixture(scope="module")
def run(tmp_path_factory, corpus):
    return make_run(tmp_path_factory.mktemp("explored") / "run", corpus)


def start(run, corpus, *arguments):
    return explore.open_explorer(explore._parse([str(run), str(corpus), "--device", "cpu", *arguments]))


@pytest.fixture(scope="module")
def explorer(run, corpus):
    return start(run, corpus, "--cache", "")


@pytest.fixture(scope="module")
def encoder(run):
    return load(run)


@pytest.fixture(scope="module")
def photo():
    return simplejpeg.encode_jpeg(make_picture(200, 300, np.random.default_rng(1)), colorspace="RGB")


def test_cards_are_in_the_order_of_the_cosine(explorer, encoder, run, corpus):
    places = explorer._gallery.places
    answer = explorer.search(explorer.read_query("text", b"Ein Dorf"), "aerial", 4)
    expected = places.z("aerial") @ encoder.encode("text", ["Ein Dorf"])[0]
    assert answer["searched"] == len(places) == 10 and len(answer["cards"]) == 4
    assert [card["row"] for card in answer["cards"]] == np.argsort(-expected)[:4].tolist()
    assert [card["similarity"] for card in answer["cards"]] == pytest.approx(np.sort(expected)[:-5:-1], abs=1e-4)
    assert all(card["away_m"] is None and "Ein Dorf" in card["text"] for card in answer["cards"])


def test_a_place_finds_itself_by_another_view_and_is_left_out_of_its_own(explorer):
    places = explorer._gallery.places
    query = explorer.take_query("street", places.keys[3])
    other, same = explorer.search(query, "aerial", 10), explorer.search(query, "street", 10)
    order = np.argsort(-(places.z("aerial") @ places.z("street")[3]))
    assert other["rank"] == order.tolist().index(3) + 1
    assert [card["is_own"] for card in other["cards"]].index(True) + 1 == other["rank"]
    assert "rank" not in same and same["searched"] == 9 and 3 not in [card["row"] for card in same["cards"]]


def test_a_click_says_how_far_places_are(explorer):
    lon, lat = explorer._gallery.places.lonlat_N2[0]
    answer = explorer.search(explorer.read_query("location", f"{lon:.6f},{lat:.6f}".encode()), "location", 10)
    assert answer["cards"][0]["row"] == 0 and answer["cards"][0]["away_m"] < 1
    assert answer["cards"][0]["similarity"] == pytest.approx(1, abs=1e-3)
    assert max(card["away_m"] for card in answer["cards"]) > 1000


def test_a_photo_is_read_as_the_encoder_reads_it(explorer, encoder, photo):
    np.testing.assert_allclose(
        explorer.read_query("street", photo).z_D, encoder.encode("street", [photo])[0], atol=1e-6
    )


def test_the_heat_is_the_map_of_the_region(explorer, encoder):
    query = explorer.take_query("text", explorer._gallery.places.keys[0])
    heat = explorer.heat(explorer.search(query, "aerial", 1)["query"])
    expected = map_region(encoder.model, query.z_D, explorer.extent).similarity_HW
    assert (heat["rows"], heat["columns"]) == expected.shape
    steps = np.frombuffer(base64.b64decode(heat["values"][1]), np.uint8).reshape(expected.shape)
    shown = heat["low"] + steps / 255 * (heat["high"] - heat["low"])
    np.testing.assert_allclose(shown, expected, atol=(heat["high"] - heat["low"]) / 500 + 1e-6)


def test_the_region_holds_every_place():
    west, south, east, north = find_extent(np.array([(6.0, 49.0), (7.0, 49.5)]))
    assert (west, east) == pytest.approx((5.95, 7.05)) and (south, north) == pytest.approx((48.975, 49.525))
    west, south, east, north = find_extent(np.array([(179.999, 89.999)]))
    assert west < 179.999 <= east == 180 and south < 89.999 <= north == 90


def test_the_map_inside_a_patch_says_what_the_model_says(explorer, encoder):
    key = explorer._gallery.places.keys[2]
    heat, place = explorer.patch(key, "own"), explorer.place(key)
    assert (heat["rows"], heat["columns"]) == (64, 64) and -1 <= heat["low"] < heat["high"] <= 1
    assert set(place["spots"]) == {"street", "text"} and np.abs(place["spots"]["street"]).max() <= 1
    assert place["views"] == list(VIEWS) and {one["licence"] for one in place["credits"]} == {"CC0-1.0"}
    assert place["text"].startswith("Ein Dorf an der Süre")


def test_what_cannot_be_asked_is_refused_in_a_sentence(explorer):
    key = explorer._gallery.places.keys[0]
    for act, message in (
        (lambda: explorer.read_query("street", b"GIF89a"), "no JPEG that can be read"),
        (lambda: explorer.read_query("text", b"\xff\xfe"), "not UTF-8"),
        (lambda: explorer.read_query("text", b"  "), "0 characters: write 1 to 10,000"),
        (lambda: explorer.read_query("text", b"a" * 10001), "10001 characters"),
        (lambda: explorer.read_query("location", b"here"), "'here' is no position"),
        (lambda: explorer.read_query("location", b"6,95"), "latitude"),
        (lambda: explorer.read_query("location", b"nan,nan"), "Position 0"),
        (lambda: explorer.read_query("dem", b""), "choose the view of a place"),
        (lambda: explorer.read_query("radar", b""), "Unknown view 'radar'"),
        (lambda: explorer.take_query("street", "8a"), "no place '8a'"),
        (lambda: explorer.take_query("radar", key), "no view 'radar'"),
        (lambda: explorer.search(explorer.take_query("dem", key), "radar", 3), "No place here has a view 'radar'"),
        (lambda: explorer.heat("999"), "forgotten: search again"),
        (lambda: explorer.patch(key, ""), "forgotten"),
    ):
        with pytest.raises(InputError, match=message):
            act()


def test_a_bomb_is_not_decoded(explorer, photo):
    at = photo.index(b"\xff\xc0") + 5  # the header's height and width
    bomb = photo[:at] + b"\xf0\x00\xf0\x00" + photo[at + 4 :]
    with pytest.raises(InputError, match="61440 x 61440 pixels: give at most"):
        explorer.read_query("street", bomb)


def test_embeddings_are_kept_and_only_for_this_run_and_corpus(run, corpus, tmp_path, monkeypatch):
    arguments = ("--split", "test", "--cache", str(tmp_path / "kept"))
    first = start(run, corpus, *arguments)
    (kept,) = (tmp_path / "kept").iterdir()
    with monkeypatch.context() as patched:
        patched.setattr(explore, "embed_splits", None)  # not called
        again = start(run, corpus, *arguments)
    np.testing.assert_array_equal(again._gallery.places.z_MND, first._gallery.places.z_MND)
    kept.write_bytes(kept.read_bytes()[:1000])
    start(run, corpus, *arguments)
    assert kept.stat().st_size > 1000
    np.savez(kept, z_MND=np.array([{}], object))
    assert gallery.read_kept(kept, first._gallery.splits) is None
    names = {
        gallery.name_kept(run, corpus, gallery.open_splits(str(corpus), split), weights)
        for split, weights in (("test", "auto"), ("val", "auto"), ("test", "model"))
    }
    assert len(names) == 3 and kept.name in names


def test_all_takes_every_split_and_unknown_ones_are_named(corpus):
    assert [samples.split for samples in gallery.open_splits(str(corpus), "all")] == ["train", "val", "test"]
    for split, message in (("tset", "Unknown split 'tset'"), (" , ", "names no split")):
        with pytest.raises(CorpusError, match=message):
            gallery.open_splits(str(corpus), split)


def test_pictures_of_all_views_are_jpegs(explorer):
    key = explorer._gallery.places.keys[0]
    shapes = {
        view: simplejpeg.decode_jpeg_header(explorer.picture(key, view))[:2]
        for view in ("sentinel2", "aerial", "dem", "street")
    }
    assert shapes == {"sentinel2": (128, 128), "aerial": (256, 256), "dem": (128, 128), "street": (256, 341)}
    assert explorer.picture(key, "text") is None and explorer.picture("8a", "aerial") is None
    with pytest.raises(ValueError, match="JPEG"):
        draw_picture("aerial", b"none")


def test_relief_is_lit_from_the_north_west_and_gaps_are_black():
    rows, columns = np.mgrid[:20, :20].astype(float)
    lit, dark = (
        draw_relief(100 - rows * -5 + columns * 5)[10, 10, 0],
        draw_relief(100 - rows * 5 - columns * 5)[10, 10, 0],
    )
    assert lit > dark + 50
    gaps = np.where(rows < 3, -32768.0, 100.0)
    assert draw_relief(gaps)[:3].max() == 0 and draw_relief(gaps)[4:].min() > 50
    assert draw_relief(np.full((4, 4), -32768.0)).max() == 0


def test_bright_and_dark_patches_both_show_something_and_gaps_are_black():
    for level in (200, 9000):
        values = np.full((12, 8, 8), level, np.uint16)
        values[3, 4:] += 500  # B04
        values[:, 0] = 0
        shown = draw_true_colour(values)
        assert shown[0].max() == 0 and shown[5, 5, 0] > 200 and shown[5, 5, 1] == shown[2, 2, 0] < 50
    assert draw_true_colour(np.zeros((12, 8, 8), np.uint16)).max() == 0


@pytest.fixture(scope="module")
def server(explorer):
    with serve(Server(explorer, 0)) as served:
        yield served


def send(server, path, body=None, **headers):
    line = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=20)
    line.request("GET" if body is None else "POST", path, body, headers)
    answer = line.getresponse()
    payload = answer.read()
    line.close()
    return answer, payload


def test_the_server_gives_the_page_and_forbids_it_the_rest_of_the_net(server):
    for name in ("", *SHARED, *FILES):
        answer, payload = send(server, f"/{name}")
        assert answer.status == 200 and answer.headers["Content-Security-Policy"] == POLICY and payload
    page = send(server, "/")[1].decode()
    assert all(f'"{name}"' in page for name in (*SHARED, *FILES[1:]))
    assert "http" not in POLICY and "unsafe" not in POLICY
    for path in (
        "/../explorer.py",
        "/%2e%2e/explorer.py",
        "/site/page.js",
        "/pictures/8a/aerial.jpg",
        "//[",
        "/data/x",
    ):
        assert send(server, path)[0].status == 404, path


def test_the_server_answers_searches(server, photo):
    model = json.loads(send(server, "/data/model")[1])
    assert model["number"] == len(model["keys"]) == 10 and model["has_query"] and model["splits"] == ["val", "test"]
    key = model["keys"][0]
    for path, body in (
        ("text?target=street", "Ein Dorf \u202e <b>".encode()), ("street?target=aerial", photo),
        ("location?target=text", b"6.13,49.61"), (f"sentinel2?target=dem&key={key}", b""),
    ):  # fmt: skip
        answer, payload = send(server, f"/search/{path}", body)
        found = json.loads(payload)
        assert answer.status == 200 and len(found["cards"]) == 10, path
        assert json.loads(send(server, f"/data/heat?query={found['query']}")[1])["columns"] == 200
        assert json.loads(send(server, f"/data/patch/{key}?query={found['query']}")[1])["rows"] == 64
    assert json.loads(send(server, f"/data/place/{key}")[1])["key"] == key
    assert simplejpeg.decode_jpeg(send(server, f"/pictures/{key}/aerial.jpg")[1]).shape == (256, 256, 3)


def test_the_server_refuses_others_and_what_is_too_long(server):
    port = server.server_address[1]
    assert send(server, "/", Host="evil.example")[0].status == 403
    assert send(server, "/search/text?target=aerial", b"a", Origin="https://evil.example")[0].status == 403
    assert send(server, "/search/text?target=aerial", b"a", Origin=f"http://127.0.0.1:{port}")[0].status == 200
    for length in (str(MOST_BYTES + 1), "-1", "9" * 5000, "x"):
        answer, payload = send(server, "/search/street?target=aerial", b"", **{"Content-Length": length})
        assert answer.status == 413 and "send at most" in json.loads(payload)["error"], length
    answer, payload = send(server, "/search/street?target=aerial", io.BytesIO(b"no photo"), **{"Content-Length": "8"})
    assert answer.status == 400 and "no JPEG" in json.loads(payload)["error"]
    assert send(server, "/delete", b"a")[0].status == 404


def test_users_are_told_what_is_wrong(run, corpus, tmp_path, capsys):
    for arguments, message in (
        ([str(tmp_path), str(corpus)], "holds no checkpoint"),
        ([str(run), str(tmp_path)], "no finished corpus"),
        ([str(run), str(corpus), "--split", "tset"], "Unknown split 'tset'"),
    ):
        assert explore.main([*arguments, "--cache", "", "--device", "cpu"]) == 1
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert line.startswith("error: ") and message in line
    with pytest.raises(SystemExit):
        explore.main([str(run), str(corpus), "--port", "70000"])
