"""Dry runs of corpora too large to be searched whole: a part of the units stands for all."""

import pytest

import pipelines.planning.candidates as candidates
from pipelines.build_shards import main
from tests.geodata.test_wikipedia_dump import page_xml, tag, write_geo_tags, write_xml
from tests.pipelines.test_index_wikipedia import arguments, run_index
from tests.runs import read_plan_table

pytestmark = pytest.mark.slow
ARTICLES = 900
AT = [(5.60137 + 1.2 * (n // 30) / 30, 49.40173 + 0.9 * (n % 30) / 30) for n in range(ARTICLES)]
"""Longitude and latitude of each."""


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Articles over some units of Luxembourg's neighbourhood, indexed."""
    folder = tmp_path_factory.mktemp("dump")
    write_geo_tags(folder / "lbwiki-geo_tags.sql.gz", [tag(n + 1, lat, lon) for n, (lon, lat) in enumerate(AT)])
    text = "ass e Duerf an der Gemeng Réiden, mat enger Kierch, enger Millen an enger aler Bréck iwwer d'Attert. "
    pages = [page_xml(n + 1, f"Duerf {n}", f"'''Duerf {n}''' {text * (1 + n % 3)}") for n in range(ARTICLES)]
    write_xml(folder / "lbwiki-pages-articles1.xml.bz2", pages, host="lb.wikipedia.org")
    run_index(*arguments(folder, folder / "table", "--workers", 1))
    return folder / "table"


def write_places(table, lonlat):
    (table.parent / "places.csv").write_text("lon,lat\n" + "".join(f"{lon},{lat}\n" for lon, lat in lonlat))


def run(table, output, capsys, *more):
    options = ["--region", "5.5,49.3,6.9,50.4", "--sources", f"wikipedia:{table}", "--output", str(output)]
    more = ["--sampling", "file", "--places", str(table.parent / "places.csv"), "--workers", "1", *more]
    assert main([*options, *more]) == 0
    return capsys.readouterr().err


def test_a_part_of_the_units_prices_the_whole_within_a_seventh(table, tmp_path, monkeypatch, capsys):
    write_places(table, AT)
    options = ("--unit_resolution", "6")
    run(table, tmp_path / "whole", capsys, *options, "--plan_only")
    kept = len(read_plan_table(tmp_path / "whole", "places"))
    monkeypatch.setattr(candidates, "PRICED_PLACES", 300)
    said = run(table, tmp_path / "part", capsys, *options, "--dry_run")
    first = next(line for line in said.splitlines() if "scaled from" in line)
    number, asked = int(first.split()[1]), int(first.split("scaled from ")[1].split()[0])
    assert asked < 0.6 * kept
    assert number == pytest.approx(kept, rel=0.15)
    text = next(line for line in said.splitlines() if line.startswith("text "))
    assert int(text.split()[4]) == pytest.approx(kept, rel=0.15)
    assert not (tmp_path / "part").exists() or not any((tmp_path / "part").iterdir())


def test_a_small_corpus_is_priced_whole_and_its_plan_stays(table, tmp_path, capsys):
    write_places(table, AT[::10])
    said = run(table, tmp_path / "out", capsys, "--dry_run")
    assert "scaled" not in said and "sizes: measured on" in said
    assert (tmp_path / "out" / "plan" / "plan.json").exists()
    again = run(table, tmp_path / "out", capsys, "--dry_run")
    assert [line for line in again.splitlines() if line.startswith("plan: ")] == [
        line for line in said.splitlines() if line.startswith("plan: ")
    ]
