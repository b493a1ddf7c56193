"""What a finished corpus says of itself, checked by the tools of those who read it."""

import json

import mlcroissant
import numpy as np
import pyarrow.parquet as pq
import pystac
import pytest
import yaml
from etils import epath
from stac_validator import stac_validator

import schemas
from geodata.grid import make_grid, transformer
from geodata.licences import COPERNICUS_DEM_NOTICE
from pipelines import verify
from pipelines.corpus.finish import finish_corpus
from pipelines.plan.plan import read_plan
from pipelines.publishing.attribution import write_attribution
from pipelines.publishing.credits import MOST_LISTED, Credit, Tallies, credits_of
from pipelines.publishing.extent import Extent
from pipelines.publishing.markdown import escape, link
from tests.folders import CENTRE, make_photo, make_scene, write_manifest, write_raster
from tests.runs import build_here

EVIL = "<script>alert(1)</script> [x](javascript:y) \u202e| `code` *b*\n# head 🏔️ שלום " + "é" * 10_000
PAGE = "https://www.mapillary.com/app/?pKey=42"
PAGES = ("README.md", "ATTRIBUTION.md", "croissant.json", "collection.json", "attribution.parquet", "index.parquet")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A scene, a DEM, three photos under three licences and a text of an evil title."""
    folder = tmp_path_factory.mktemp("source") / "mine"
    folder.mkdir()
    lon, lat = CENTRE
    write_raster(folder / "s2.tif", make_scene(400), nodata=0, names=schemas.modality.SENTINEL2_BANDS)
    write_raster(folder / "dem.tif", np.random.default_rng(1).normal(300, 20, (1, 400, 400)).astype(np.float32))
    rows = [
        {
            "path": "s2.tif", "modality": "sentinel2", "captured_at": "2024-06-01T10:30:00Z",
            "licence": "Copernicus Sentinel data terms (free, full and open)",
            "attribution": "Contains modified Copernicus Sentinel data 2024",
        },
        {"path": "dem.tif", "modality": "dem", "licence": "Copernicus DEM licence (free, worldwide)", "attribution": "DLR"},
    ]  # fmt: skip
    for number, licence in enumerate(["CC-BY-SA-4.0", "CC-BY-NC-4.0", ""]):
        place = (lon + 0.004 * (number - 1), lat)
        (folder / f"{number}.jpg").write_bytes(make_photo(place, seed=number))
        credit = f"Mapillary, @<b>user{number}</b> ({PAGE})"
        rows.append(
            {"path": f"{number}.jpg", "modality": "street", "lon": place[0], "lat": place[1], "licence": licence,
             "attribution": credit, "captured_at": f"2021-0{number + 1}-01T00:00:00Z"}
        )  # fmt: skip
    article = {
        "id": "1",
        "title": EVIL,
        "lat": lat,
        "lon": lon,
        "text": "A village of twelve houses beside the river. " * 3,
    }
    (folder / "texts.jsonl").write_text(json.dumps(article) + "\n")
    rows.append(
        {"path": "texts.jsonl", "modality": "text", "licence": "CC-BY-SA-4.0", "attribution": "Wikipedia contributors"}
    )
    write_manifest(folder, rows)
    return folder


def build(source, output, *more):
    return build_here("--region", "DE", "--sources", f"folder:{source}", "--output", output, *more)


@pytest.fixture(scope="module")
def corpus(source, tmp_path_factory):
    return build(source, tmp_path_factory.mktemp("all") / "corpus")


@pytest.fixture(scope="module")
def open_corpus(source, tmp_path_factory):
    return build(source, tmp_path_factory.mktemp("open") / "corpus", "--licences", "open-commercial")


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


def observations(corpus):
    keys = pq.read_table(corpus / "index.parquet")["key"].to_pylist()
    return [(key, o) for key in keys for o in schemas.read_sample(corpus, key).observations]


def test_croissant_is_valid_and_its_records_are_those_of_the_corpus(corpus, tmp_path, monkeypatch):
    unpacked = epath.Path(tmp_path)  # mlcroissant takes tars of the same relative name for the same
    monkeypatch.setattr("mlcroissant._src.operation_graph.operations.extract.EXTRACT_PATH", unpacked)
    dataset = mlcroissant.Dataset(jsonld=corpus / "croissant.json")
    assert not dataset.metadata.issues.errors
    assert [text for text in dataset.metadata.issues.warnings if "datePublished" not in text] == []
    rows = {row["index/key"].decode(): row for row in dataset.records("index")}
    texts = {row["text/key"].decode(): row["text/content"] for row in dataset.records("text")}
    photos = {row["street/key"].decode(): row["street/content"].size for row in dataset.records("street")}
    found = observations(corpus)
    assert rows.keys() == {key for key, _ in found}
    assert texts == {key: o.payload for key, o in found if o.modality == "text"}
    assert photos.keys() == {key for key, o in found if o.modality == "street"}


def test_croissant_says_where_and_when_and_which_bands(corpus):
    said = read_json(corpus / "croissant.json")
    south, west, north, east = map(float, said["spatialCoverage"][0]["geo"]["box"].split())
    for key, _ in observations(corpus):
        left, bottom, right, top = make_grid(key, "sentinel2").bounds
        lon, lat = transformer(make_grid(key, "sentinel2").crs, "EPSG:4326").transform([left, right], [bottom, top])
        assert west < min(lon) and max(lon) < east and south < min(lat) and max(lat) < north
    assert east - west < 0.2 and said["temporalCoverage"] == "2021-01-01T00:00:00Z/2024-06-01T10:30:00Z"
    assert said["geocr:bandConfiguration"]["geocr:bandNameList"] == list(schemas.modality.SENTINEL2_BANDS)
    assert said["@context"]["geocr"] == "http://mlcommons.org/croissant/geo/"


def test_the_stac_collection_is_valid_and_names_every_file(corpus, monkeypatch):
    """The schemas of STAC 1.1 that pystac brings: no network. Those of the extensions are nowhere in a package."""
    from pystac.validation.local_validator import get_local_schema_cache

    said = read_json(corpus / "collection.json")
    cache = get_local_schema_cache()
    monkeypatch.setattr("stac_validator.utilities.fetch_and_parse_schema", lambda path: cache[path])
    checker = stac_validator.StacValidate(core=True)
    assert checker.validate_dict(said), checker.message
    assert not stac_validator.StacValidate(core=True).validate_dict({**said, "extent": {}})
    collection = pystac.Collection.from_dict(said)
    names = {asset.href for asset in collection.assets.values()}
    assert names >= {path.relative_to(corpus).as_posix() for path in corpus.glob("*/*.tar")}
    assert names >= {"index.parquet", "drops.parquet", "attribution.parquet"}
    assert {provider.name for provider in collection.providers} == {"mine", "sameplace"}
    assert collection.license == "other" and collection.summaries.lists["proj:code"] == ["EPSG:32632"]


def test_the_card_names_splits_licence_and_size(corpus):
    header = yaml.safe_load((corpus / "README.md").read_text(encoding="utf-8").split("---")[1])
    assert header["license"] == "other" and header["license_link"] == "ATTRIBUTION.md"
    assert header["size_categories"] == ["n<1K"] and {"webdataset", "croissant"} <= set(header["tags"])
    files = {entry["split"]: entry["path"] for entry in header["configs"][0]["data_files"]}
    assert files and all(list(corpus.glob(path)) for path in files.values())


def test_every_observation_is_credited_in_the_table(corpus):
    rows = {(row["key"], row["modality"]): row for row in pq.read_table(corpus / "attribution.parquet").to_pylist()}
    found = observations(corpus)
    assert rows.keys() == {(key, o.modality) for key, o in found}
    for key, o in found:
        row = rows[key, o.modality]
        assert (row["licence"], row["attribution"], row["title"]) == (o.licence, o.attribution, o.title)
        assert row["url"] == (PAGE if o.modality == "street" else "")
        assert bool(row["licence_url"]) == (o.licence != "")


def test_the_page_satisfies_each_licence(corpus):
    page = (corpus / "ATTRIBUTION.md").read_text(encoding="utf-8")
    assert "[CC-BY-SA-4.0](https://creativecommons.org/licenses/by-sa/4.0/) asks to: name the author" in page
    assert f"[{PAGE.replace('_', '&#95;')}]({PAGE})" in page and COPERNICUS_DEM_NOTICE in page
    assert "Contains modified Copernicus Sentinel data 2024" in page and "## No licence stated" in page
    assert "The works were changed:" in page and "scaled down" in page


def test_names_from_outside_stay_words_on_every_page(corpus):
    for name in ("README.md", "ATTRIBUTION.md"):
        page = (corpus / name).read_text(encoding="utf-8")
        assert "<script>" not in page and "<b>" not in page and "](javascript" not in page and "\u202e" not in page
        assert "\n# head" not in page and max(map(len, page.splitlines())) < 2_000
    assert "שלום" in (corpus / "ATTRIBUTION.md").read_text(encoding="utf-8")
    titles = pq.read_table(corpus / "attribution.parquet")["title"].to_pylist()
    assert EVIL in titles  # whole


def test_a_corpus_of_open_licences_holds_nothing_else(corpus, open_corpus, capsys):
    found = {o.licence for _, o in observations(open_corpus)}
    assert found == {o.licence for _, o in observations(corpus)} - {"CC-BY-NC-4.0", ""}
    drops = pq.read_table(open_corpus / "drops.parquet").to_pylist()
    barred = {row["item_id"]: row["detail"] for row in drops if row["reason"] == "licence"}
    assert barred.keys() == {"1.jpg", "2.jpg"}
    assert "CC-BY-NC-4.0 does not allow it" in barred["1.jpg"] and "an unstated licence" in barred["2.jpg"]
    manifest = read_json(open_corpus / "manifest.json")
    assert manifest["drops"]["street"]["find.licence"] == 2
    assert manifest["plan_sha256"] != read_json(corpus / "manifest.json")["plan_sha256"]
    assert all(row["seen"] == row["kept"] + row["dropped"] for row in manifest["records"].values())
    assert verify.main([str(open_corpus), "--workers", "1"]) == 0
    manifest["options"]["licences"] = "all"
    plan = (corpus / "manifest.json").read_text()
    try:
        (corpus / "manifest.json").write_text(plan.replace('"licences": "all"', '"licences": "open-commercial"', 1))
        assert verify.main([str(corpus), "--workers", "1"]) == 1
    finally:
        (corpus / "manifest.json").write_text(plan)
    assert "is under 'CC-BY-NC-4.0', which --licences open-commercial bars" in capsys.readouterr().out


def test_a_changed_table_of_credits_is_told(corpus, capsys):
    path = corpus / "attribution.parquet"
    before = path.read_bytes()
    try:
        path.write_bytes(before[:-9] + bytes([before[-9] ^ 1]) + before[-8:])
        assert verify.main([str(corpus), "--workers", "1"]) == 1
    finally:
        path.write_bytes(before)
    assert "[credits] attribution.parquet" in capsys.readouterr().out
    assert verify.main([str(corpus), "--workers", "1"]) == 0


def test_finishing_again_writes_the_same_bytes(corpus):
    before = {name: (corpus / name).read_bytes() for name in PAGES}
    for name in PAGES:
        (corpus / name).unlink()
    finish_corpus(str(corpus), read_plan(str(corpus)))
    assert {name: (corpus / name).read_bytes() for name in PAGES} == before


@pytest.mark.parametrize(
    ("lons", "expected"),
    [([5, 6], (5, 6)), ([-179.5, 179.0], (179.0, -179.5)), ([-170, -10, 80, 170], (-170, 170)), ([180.0, 179], (179, -180))],
    ids=["narrow", "across the antimeridian", "round the Earth", "at the antimeridian"],
)  # fmt: skip
def test_a_box_is_the_smaller_way_round(lons, expected):
    extent = Extent()
    for lon in lons:
        extent.add_places(np.array([[lon, 10.0]]))
    west, south, east, north = extent.box
    assert (west, east) == pytest.approx(expected, abs=0.03) and 9.9 < south < 10 < north < 10.1


def test_an_extent_of_nothing_dated_has_no_period():
    extent = Extent()
    extent.add_times([None, None])
    assert extent.period == (None, None)


def test_many_credits_are_counted_and_not_listed(tmp_path):
    tallies = Tallies()
    for number in range(MOST_LISTED + 1):
        tallies.add(Credit("k", "street", "s", str(number), None, f"@user{number}", "", "CC-BY-SA-4.0", ""))
    for _ in range(3):
        tallies.add(Credit("k", "dem", "s", "1", None, "DLR", "", "MIT", ""))
    assert tallies.table() == {
        "dem": [{"licence": "MIT", "attribution": "DLR", "observations": 3}],
        "street": [{"licence": "CC-BY-SA-4.0", "attribution": "as each record says", "observations": MOST_LISTED + 1}],
    }
    write_attribution(str(tmp_path), {"name": "n", "synthetic": False}, tallies)
    page = (tmp_path / "ATTRIBUTION.md").read_text()
    assert "user7" not in page and "where `modality` is `street`" in page and "- DLR (3 observations)" in page


def test_an_articles_page_is_its_own_address():
    item = {
        "modality": "text",
        "href": "https://en.wikipedia.org/wiki/Vaduz_(town)",
        "title": "Vaduz",
        "licence": "CC-BY-SA-4.0",
    }
    item |= {"attribution": "Wikipedia contributors, https://en.wikipedia.org/wiki/Vaduz_(town)", "source": "wikipedia"}
    rows = [{"key": "k", "identities": [["text", "wikipedia", "en:1"]]}]
    [credit] = credits_of(rows, {("text", "wikipedia", "en:1"): item})
    assert credit.url == item["href"] and credit.licence_url == "https://creativecommons.org/licenses/by-sa/4.0/"
    assert link("a", credit.url) == "[a](https://en.wikipedia.org/wiki/Vaduz_%28town%29)"
    assert link("a", "javascript:alert(1)") == escape("a") == "a"
