import json

import pyarrow.parquet as pq
import pytest

from tests.geodata.test_wikipedia_dump import page_xml, sql_dump, tag, write_geo_tags, write_xml
from tests.runs import run_module

LIMIT_S = 120


def run_index(*arguments, expect=0):
    """Runs the job in a process of its own and returns its stderr."""
    done = run_module("pipelines.index_wikipedia", *arguments, limit_s=LIMIT_S)
    assert done.returncode == expect, done.stderr[-3000:]
    return done.stderr


@pytest.fixture(scope="module")
def dump(tmp_path_factory):
    """A wiki of three files: articles 1 ... 30, and whatever may not become one."""
    folder = tmp_path_factory.mktemp("dump")
    tags = [
        tag(n, 49 + n / 37, 6 - n / 41, gt_dim=n * 10, gt_type="city")
        for n in [*range(1, 31), 60, 61, 62, 63, 64, 65, 99]
    ]
    write_geo_tags(folder / "lbwiki-geo_tags.sql.gz", [*tags, tag(70, 1, 1, gt_globe="mars")])
    props = sql_dump(
        "page_props", ["pp_page", "pp_propname", "pp_value"], [[60, "disambiguation", ""], [5, "defaultsort", "x"]]
    )
    (folder / "lbwiki-page_props.sql").write_text(props)
    texts = {
        n: page_xml(
            n, f"Éch {n}", f"{{{{Box|x=[[File:a.jpg]]}}}}\n'''Éch {n}''' ({{{{x}}}}) ass e Duerf.\n\n== H ==\nx"
        )
        for n in range(1, 31)
    }
    others = [
        page_xml(60, "Sixty", "Many things.\n"), page_xml(61, "Template:X", "x", namespace=10), page_xml(62, "R", "#REDIRECT [[A]]", redirect="A"),
        page_xml(63, "Nothing", "{{Box}}\n==H==\nx"), page_xml(64, "Dab", "Dab.\n{{disambig}}"), page_xml(65, "Lead", "Lead may refer to: a"),
        page_xml(66, "Untagged", "x"),
    ]  # fmt: skip
    for number, numbers in enumerate([range(1, 11), range(11, 26), range(26, 31)], 1):
        pages = [texts[n] for n in numbers] + (others if number == 2 else [])
        write_xml(folder / f"lbwiki-pages-articles{number}.xml.bz2", pages, host="lb.wikipedia.org")
    return folder


def arguments(dump, output, *more):
    pages = dump / "lbwiki-pages-articles*.xml.bz2"
    return [
        "--geo_tags",
        dump / "lbwiki-geo_tags.sql.gz",
        "--pages",
        pages,
        "--output",
        output,
        "--language",
        "lb",
        "--runner",
        "FnApiRunner",
        *more,
    ]


def test_a_dump_becomes_a_table_of_the_same_bytes_with_any_number_of_workers(dump, tmp_path):
    output = tmp_path / "new" / "one"
    stderr = run_index(*arguments(dump, output, "--workers", 1))
    rows = pq.read_table(output / "articles-00000.parquet").to_pylist()
    assert sorted(row["page_id"] for row in rows) == [*range(1, 31), 60]
    assert [row["cell"] for row in rows] == sorted(row["cell"] for row in rows)
    seven = next(row for row in rows if row["page_id"] == 7)
    assert seven["text"] == "Éch 7 ass e Duerf." and seven["url"] == "https://lb.wikipedia.org/wiki/%C3%89ch_7"
    assert (seven["title"], seven["dim_m"], seven["type"], seven["revision"]) == ("Éch 7", 70, "city", 70)
    description = json.loads((output / "dump.json").read_text())
    assert description["counts"] == {
        "geo_tags": {"seen": 38, "kept": 36, "dropped": {"no_page": 1, "not_earth": 1}},
        "pages": {
            "seen": 37, "kept": 31,
            "dropped": {"disambiguation": 2, "no_text": 1, "not_tagged": 1, "other_namespace": 1, "redirect": 1},
        },
    }  # fmt: skip
    assert description["sources"] == ["lbwiki-geo_tags.sql.gz"] + [
        f"lbwiki-pages-articles{n}.xml.bz2" for n in (1, 2, 3)
    ]
    assert (description["language"], description["licence"], description["resolution"]) == ("lb", "CC-BY-SA-4.0", 12)
    assert "redirect 1" in stderr and "31 articles" in stderr
    run_index(*arguments(dump, tmp_path / "two", "--workers", 2))
    assert read_all(tmp_path / "two") == read_all(output)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["new", "two"]
    assert "is there already" in run_index(*arguments(dump, output), expect=1)


def test_page_props_overrule_the_templates(dump, tmp_path):
    stderr = run_index(*arguments(dump, tmp_path / "t", "--workers", 1, "--page_props", dump / "lbwiki-page_props.sql"))
    ids = pq.read_table(tmp_path / "t" / "articles-00000.parquet")["page_id"].to_pylist()
    assert sorted(ids) == [*range(1, 31), 64]
    assert "disambiguation 2" in stderr


@pytest.mark.parametrize("workers", [1, 2])
def test_a_file_that_is_cut_off_is_one_sentence_and_leaves_nothing(dump, tmp_path, workers):
    whole = (dump / "lbwiki-pages-articles2.xml.bz2").read_bytes()
    (tmp_path / "lbwiki-2.xml.bz2").write_bytes(whole[: len(whole) // 2])
    pages = [dump / "lbwiki-pages-articles1.xml.bz2", tmp_path / "lbwiki-2.xml.bz2"]
    stderr = run_index(*arguments(dump, tmp_path / "t", "--workers", workers), "--pages", *pages, expect=1)
    assert stderr.strip().splitlines()[-1].startswith("error: lbwiki-2.xml.bz2 is cut off")
    assert [entry.name for entry in tmp_path.iterdir()] == ["lbwiki-2.xml.bz2"]


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--pages", "nowhere/*.xml"], "nowhere/*.xml matches no file"),
        (["--geo_tags", "nowhere.sql.gz"], "nowhere.sql.gz cannot be read (No such file or directory)"),
        (["--language", "EN!"], "names no wiki"),
        (["--language", "de"], "comes from lb.wikipedia.org, but --language is 'de': give --language lb"),
        (["--workers", "0"], "too small"),
        (["--sevens", "7"], "Unknown option --sevens"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_one_sentence(dump, tmp_path, more, sentence):
    stderr = run_index(*arguments(dump, tmp_path / "t", "--workers", 1), *more, expect=1)
    assert stderr.startswith("error: ") and sentence in stderr and stderr.count("\n") == 1
    assert not any(tmp_path.iterdir())


def read_all(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}
