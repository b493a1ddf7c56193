from dataclasses import replace

import h3.api.basic_int as h3
import numpy as np
import pytest

from geodata import cells
from geodata.grid import distance_m, holds, make_grid
from geodata.judge import Thresholds
from geodata.sources.dump import DumpSource
from geodata.sources.files import FileSource, Limits
from geodata.sources.source import Finding, ReadError, SourceError
from geodata.wikipedia import table as table_module
from geodata.wikipedia.articles import CELL_RESOLUTION, PlacedArticle
from geodata.wikipedia.stream import DumpError
from geodata.wikipedia.table import ArticleTable, cell_range, write_articles, write_description
from schemas.drop import Drop, Reason, Stage
from schemas.reference import Item, Place

CENTRE = (6.13, 49.61)
KEY = cells.cell_at(*CENTRE, 10)
UNIT = cells.cell_at(*cells.centre(KEY), 5)
AROUND = [cells.to_key(cell) for cell in cells.disk(cells.to_cell(KEY), 9)]
LONG = "A text that is long enough to say something about the place, at the very least. "


def article(page_id, lon, lat, **more):
    cell = cells.cell_number(lon, lat, CELL_RESOLUTION)
    values = {
        "title": f"T{page_id}",
        "dim_m": None,
        "type": None,
        "text": LONG,
        "revision": 7,
        "url": f"https://x/{page_id}",
    }
    return PlacedArticle(cell=cell, page_id=page_id, lon=lon, lat=lat, **{**values, **more})


def open_dump(folder, articles, *, texts_per_cell=99, **thresholds):
    folder.mkdir(exist_ok=True)
    files = write_articles(sorted(articles, key=lambda a: (a.cell, a.page_id)), str(folder))
    write_description(str(folder), language="lb", files=files, counts={}, sources=["x"])
    limits = Limits(texts_per_cell=texts_per_cell)
    return DumpSource("wiki", str(folder), limits=limits, thresholds=Thresholds(**thresholds))


def place(key, unit_resolution=5):
    unit = cells.to_key(int(cells.ancestors(np.array([cells.to_cell(key)], dtype=np.uint64), unit_resolution)[0]))
    return Place(key, unit, "train", *cells.centre(key), "LU")


def find(source, keys=(KEY,), halo=()):
    found = list(source.find([place(key) for key in keys], [place(key) for key in halo]))
    return [f for f in found if isinstance(f, Finding)], [f for f in found if isinstance(f, Drop)]


def random_articles(number, spread=0.012):
    points = np.array(CENTRE) + np.random.default_rng(0).uniform(-spread, spread, (number, 2))
    return [article(n, *point) for n, point in enumerate(points.tolist())]


def test_articles_belong_as_those_of_a_file_do(tmp_path):
    """Against brute force and against a source of files; sparse cells, and halves of them as each other's halo."""
    sparse = AROUND[::9]
    articles = random_articles(150)
    owners = {}
    for a in articles:
        holding = [k for k in sparse if holds(make_grid(k, "sentinel2"), a.lon, a.lat)]
        if holding:
            owners[f"lb:{a.page_id}"] = min(holding, key=lambda k: distance_m(*cells.centre(k), a.lon, a.lat))
    assert len(owners) > 40
    source = open_dump(tmp_path / "d", articles)
    for parts in ([(sparse, ())], [(sparse[:6], sparse[6:]), (sparse[6:], sparse[:6])]):
        findings = [f for mine, halo in parts for f in find(source, mine, halo)[0]]
        assert {f.item.item_id: f.reference.key for f in findings} == owners and len(findings) == len(owners)
    items = [Item("wiki", f"lb:{a.page_id}", "text", "x", a.lon, a.lat, size=len(a.text)) for a in articles]
    files = FileSource("wiki", ".", items, limits=Limits(texts_per_cell=99))
    ours = list(source.find([place(k) for k in sparse], []))
    theirs = list(files.find([place(k) for k in sparse], []))
    assert [f.reference for f in ours if isinstance(f, Finding)] == [f.reference for f in theirs]


def test_every_article_near_is_told_of_once(tmp_path):
    """Whatever the units: kept, dropped with its reason, or counted where it lies."""
    articles = [replace(a, text="short") if a.page_id % 5 == 0 else a for a in random_articles(400, spread=0.03)]
    source = open_dump(tmp_path / "d", articles, texts_per_cell=1)
    by_unit = {}
    for key in AROUND[::9]:
        by_unit.setdefault(place(key, 7).unit, []).append(place(key, 7))
    assert len(by_unit) > 1
    told, counted = [], 0
    for unit, mine in by_unit.items():
        halo = [p for other, group in by_unit.items() if other != unit for p in group]
        for entry in source.find(mine, halo):
            if isinstance(entry, Drop) and entry.reason == Reason.NOT_SAMPLED:
                assert entry.key == unit and entry.item_id == ""
                counted += entry.count
            else:
                told.append(entry.item_id if isinstance(entry, Drop) else entry.item.item_id)
    lying = [a for a in articles if cells.to_key(int(cells.ancestors(np.array([a.cell], np.uint64), 7)[0])) in by_unit]
    assert len(told) == len(set(told)) and counted > 0
    assert counted == len({f"lb:{a.page_id}" for a in lying} - set(told))


def test_the_longest_articles_are_kept_and_the_others_dropped(tmp_path):
    lon, lat = cells.centre(KEY)
    articles = [article(n, lon, lat, text=LONG * length) for n, length in enumerate((2, 5, 5, 1))]
    findings, drops = find(open_dump(tmp_path / "d", articles, texts_per_cell=2))
    assert [(f.item.item_id, f.reference.rank) for f in findings] == [("lb:1", 0), ("lb:2", 1)]
    assert [(d.item_id, d.reason, d.stage) for d in drops] == [
        ("lb:0", Reason.NOT_CHOSEN, Stage.CHOOSE), ("lb:3", Reason.NOT_CHOSEN, Stage.CHOOSE),
    ]  # fmt: skip


def test_an_item_says_where_it_comes_from(tmp_path):
    lon, lat = cells.centre(KEY)
    item = find(open_dump(tmp_path / "d", [article(5, lon, lat)]))[0][0].item
    assert item == Item(
        "wiki", "lb:5", "text", "https://x/5", lon, lat, licence="CC-BY-SA-4.0", size=len(LONG), title="T5", note="revision 7",
        attribution="Wikipedia contributors, https://x/5",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("more", "reason", "value"),
    [
        ({"text": "Too short."}, Reason.STUB, 10),
        ({"text": "Foo may refer to:" + LONG}, Reason.DISAMBIGUATION, None),
        ({"dim_m": 20_001.0}, Reason.IMPRECISE_LOCATION, 20_001),
        ({"type": "adm2nd"}, Reason.IMPRECISE_LOCATION, 30_000),
        ({"type": "adm1st(1000)", "dim_m": 500.0}, Reason.IMPRECISE_LOCATION, 500),
        ({"type": "country"}, Reason.IMPRECISE_LOCATION, 1e6),
        ({"type": "satellite"}, Reason.IMPRECISE_LOCATION, 1e6),
    ],
)
def test_a_bad_article_is_a_drop_at_its_cell_and_no_anchor(tmp_path, more, reason, value):
    lon, lat = cells.centre(KEY)
    source = open_dump(tmp_path / "d", [article(1, lon, lat, **more)])
    findings, drops = find(source)
    assert findings == [] and source.anchors(UNIT) == []
    assert [(d.key, d.reason, d.stage, d.source, d.item_id) for d in drops] == [
        (KEY, reason, Stage.FIND, "wiki", "lb:1")
    ]
    assert value is None or drops[0].value == value


def test_a_round_position_is_a_guess(tmp_path):
    key = cells.cell_at(6.5, 49.5, 10)
    source = open_dump(tmp_path / "d", [article(1, 6.5, 49.5)])
    near = next(
        k for k in map(cells.to_key, cells.disk(cells.to_cell(key), 3)) if holds(make_grid(k, "sentinel2"), 6.5, 49.5)
    )
    assert find(source, [near])[1][0].reason == Reason.IMPRECISE_LOCATION
    assert find(open_dump(tmp_path / "e", [article(1, 6.5, 49.5)], imprecise_step_deg=0), [near])[0]


@pytest.mark.parametrize("more", [{"dim_m": 20_000.0}, {"type": "city"}, {"type": "adm3rd"}])
def test_what_has_a_place_is_kept(tmp_path, more):
    assert len(find(open_dump(tmp_path / "d", [article(1, *cells.centre(KEY), **more)]))[0]) == 1


def test_anchors_are_the_positions_below_the_unit_in_order(tmp_path):
    articles = random_articles(400, spread=0.3)
    source = open_dump(tmp_path / "d", articles)
    below = [a for a in articles if cells.to_key(int(cells.ancestors(np.array([a.cell], np.uint64), 5)[0])) == UNIT]
    assert source.anchors(UNIT) == sorted((a.lon, a.lat) for a in below) and 0 < len(below) < 400
    assert source.anchors(cells.cell_at(-120, 10, 5)) == []


def test_a_text_is_read_back_and_only_as_it_was_found(tmp_path):
    lon, lat = cells.centre(KEY)
    here = [article(n, lon, lat, text=LONG + str(n)) for n in range(4)]
    source = open_dump(tmp_path / "d", here)
    items = [f.item for f in find(source)[0]]
    source.prepare(items)
    assert [source.read_text(item) for item in items] == [LONG + item.item_id[3:] for item in items]
    source.close()
    assert source.read_text(items[0]) == LONG + items[0].item_id[3:]
    newer = open_dump(tmp_path / "e", [replace(a, revision=8) for a in here[1:]])
    with pytest.raises(ReadError, match="holds revision 8"):
        newer.read_text(items[1])
    with pytest.raises(ReadError, match="lacks the article") as caught:
        newer.read_text(items[0])
    assert caught.value.reason == Reason.MISSING_FILE


def test_a_dump_has_neither_rasters_nor_photos(tmp_path):
    source = open_dump(tmp_path / "d", [article(1, *CENTRE)])
    item = Item("wiki", "a", "dem", "", *CENTRE)
    for read in (lambda: source.read_raster(item, make_grid(KEY, "dem")), lambda: source.read_bytes(item)):
        with pytest.raises(ReadError) as caught:
            read()
        assert caught.value.reason == Reason.UNKNOWN_MODALITY


def test_a_broken_table_is_one_sentence(tmp_path):
    with pytest.raises(SourceError, match="index_wikipedia"):
        open_dump_at(tmp_path)
    source = open_dump(tmp_path / "d", [article(1, *cells.centre(KEY))])
    item = find(source)[0][0].item
    source.close()
    (tmp_path / "d" / "articles-00000.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(SourceError, match="index the dump again"):
        find(source)
    with pytest.raises(ReadError) as caught:
        source.read_text(item)
    assert caught.value.reason == Reason.UNREADABLE


def open_dump_at(folder):
    return DumpSource("wiki", str(folder), limits=Limits(), thresholds=Thresholds())


@pytest.mark.parametrize("lonlat", [(6.1, 49.6), (179.99, -17), (0, 90), (-150, -30)])
@pytest.mark.parametrize("resolution", [0, 5, 7, 11, 12])
def test_the_range_of_a_cell_holds_its_descendants_and_no_others(lonlat, resolution):
    cell = h3.latlng_to_cell(lonlat[1], lonlat[0], resolution)
    low, high = cell_range(cell)
    rng = np.random.default_rng(0)
    points = rng.normal(lonlat[::-1], 50 / 2.6**resolution, (500, 2))
    fine = [h3.latlng_to_cell(max(-90, min(90, lat)), lon, 12) for lat, lon in points.tolist()]
    assert [low <= f <= high for f in fine] == [h3.cell_to_parent(f, resolution) == cell for f in fine]
    assert low <= h3.latlng_to_cell(*h3.cell_to_latlng(cell), 12) <= high


def test_the_range_of_a_pentagon_holds_its_descendants():
    pentagon = h3.get_pentagons(8)[3]
    children = h3.cell_to_children(pentagon, 12)
    assert cell_range(pentagon) == (min(children), max(children))


def make_articles(number, seed=0):
    rng = np.random.default_rng(seed)
    made = []
    for page, (lon, lat) in enumerate((rng.normal(0, 0.3, (number, 2)) + (6.1, 49.6)).tolist()):
        cell = h3.latlng_to_cell(lat, lon, 12)
        made.append(PlacedArticle(cell, page, f"T{page}", lon, lat, None, None, f"text {page}", page, "u"))
    return sorted(made, key=lambda article: (article.cell, article.page_id))


def write_table(folder, articles):
    folder.mkdir()
    files = write_articles(articles, str(folder))
    write_description(str(folder), language="en", files=files, counts={}, sources=[])
    return files


def test_a_table_gives_exactly_the_articles_of_a_cell_and_unpacks_little(tmp_path, monkeypatch):
    monkeypatch.setattr(table_module, "ROWS_PER_GROUP", 50)
    monkeypatch.setattr(table_module, "ROWS_PER_FILE", 400)
    articles = make_articles(3000)
    files = write_table(tmp_path / "t", articles)
    assert [file.rows for file in files] == [400] * 7 + [200]
    table = ArticleTable(str(tmp_path / "t"))
    units = sorted({h3.cell_to_parent(article.cell, 6) for article in articles})
    found = [table.read([cell_range(unit)]) for unit in units]
    assert [article for group in found for article in group] == articles
    assert table.read(map(cell_range, [*units, *units[:5]])) == articles
    assert table.read([cell_range(h3.latlng_to_cell(-49, 6, 5))]) == []
    one = articles[1234]
    assert one in table.read([(one.cell, one.cell)]) and len(table._unpacked) <= table_module.OPEN_GROUPS
    table.close()


def test_articles_of_one_cell_may_span_row_groups_and_files(tmp_path, monkeypatch):
    monkeypatch.setattr(table_module, "ROWS_PER_GROUP", 3)
    monkeypatch.setattr(table_module, "ROWS_PER_FILE", 6)
    cell = h3.latlng_to_cell(49.6, 6.1, 12)
    articles = [PlacedArticle(cell, n, "t", 6.1, 49.6, 1.0, "city", "x", n, "u") for n in range(20)]
    write_table(tmp_path / "t", articles)
    assert ArticleTable(str(tmp_path / "t")).read([(cell, cell)]) == articles


def test_a_table_of_another_version_is_refused(tmp_path):
    write_table(tmp_path / "t", make_articles(5))
    path = tmp_path / "t" / "dump.json"
    path.write_text(path.read_text().replace('"format_version": 1', '"format_version": 2'))
    with pytest.raises(DumpError, match="format version 2"):
        ArticleTable(str(tmp_path / "t"))
    with pytest.raises(DumpError, match="index_wikipedia"):
        ArticleTable(str(tmp_path))
