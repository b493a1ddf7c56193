import bz2
import gzip
from xml.sax.saxutils import escape

import pyarrow.parquet as pq
import pytest

from geodata.wikipedia.articles import article_url
from geodata.wikipedia.pages import Pages
from geodata.wikipedia.runs import merge_runs, read_records, write_runs
from geodata.wikipedia.sql import iterate_rows
from geodata.wikipedia.stream import DumpError
from geodata.wikipedia.tags import read_tags, write_tags
from geodata.wikipedia.wikitext import is_disambiguation_page, read_intro

COLUMNS_11 = [
    "gt_id", "gt_page_id", "gt_globe", "gt_primary", "gt_lat", "gt_lon", "gt_dim", "gt_type", "gt_name", "gt_country", "gt_region",
]  # fmt: skip
COLUMNS_13 = [*COLUMNS_11[:4], "gt_lat_int", "gt_lon_int", *COLUMNS_11[4:]]
SHUFFLED = sorted(COLUMNS_13, key=lambda name: name[::-1])
EMBEDDED = {"file", "image", "category", "datei", "kategorie"}


def sql_value(value):
    if value is None:
        return "NULL"
    if not isinstance(value, str):
        return str(value)
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n") + "'"


def sql_dump(table, columns, rows, *, separator=",", per_insert=1000):
    """The text of mysqldump; `separator` `,\\n` is that of newer mariadb-dump."""
    lines = [f"-- MySQL dump 10.19\nDROP TABLE IF EXISTS `{table}`;\n/*!40101 SET character_set_client = utf8 */;"]
    lines.append(f"CREATE TABLE `{table}` (\n" + "".join(f"  `{c}` varbinary(255) DEFAULT NULL,\n" for c in columns))
    lines[-1] += (
        f"  PRIMARY KEY (`{columns[0]}`),\n  KEY `k` (`{columns[0]}`,`{columns[1]}`)\n) ENGINE=InnoDB AUTO_INCREMENT=7;"
    )
    for start in range(0, len(rows), per_insert):
        values = separator.join("(" + ",".join(map(sql_value, row)) + ")" for row in rows[start : start + per_insert])
        lines.append(f"INSERT INTO `{table}` VALUES{separator[1:] or ' '}{values};")
    return "\n".join([*lines, "/*!40000 ALTER TABLE x ENABLE KEYS */;", "-- Dump completed on 2026-01-01", ""])


def tag(page_id, lat, lon, **more):
    row = dict.fromkeys(COLUMNS_13) | {
        "gt_id": page_id,
        "gt_page_id": page_id,
        "gt_globe": "earth",
        "gt_primary": 1,
    }
    return (
        row
        | {"gt_lat": f"{lat:.8f}", "gt_lon": f"{lon:.8f}", "gt_lat_int": round(lat * 10), "gt_lon_int": round(lon * 10)}
        | more
    )


def write_geo_tags(path, tags, columns=COLUMNS_13, **more):
    text = sql_dump("geo_tags", columns, [[row[name] for name in columns] for row in tags], **more)
    path.write_bytes(gzip.compress(text.encode(), mtime=0))
    return str(path)


def page_xml(page_id, title, text, *, namespace=0, redirect=None, revision=None):
    target = f'    <redirect title="{redirect}" />\n' if redirect else ""
    return (
        f"  <page>\n    <title>{escape(title)}</title>\n    <ns>{namespace}</ns>\n    <id>{page_id}</id>\n{target}"
        f"    <revision>\n      <id>{revision or page_id * 10}</id>\n      <parentid>1</parentid>\n"
        f"      <contributor><username>A</username><id>77</id></contributor>\n"
        f'      <text bytes="9" xml:space="preserve">{escape(text)}</text>\n    </revision>\n  </page>\n'
    )


def xml_dump(pages, *, host="en.wikipedia.org", head=""):
    return (
        f'{head}<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="en">\n  <siteinfo>\n'
        f"    <sitename>Wikipedia</sitename>\n    <base>https://{host}/wiki/Main_Page</base>\n    <namespaces>\n"
        '      <namespace key="0" case="first-letter" />\n      <namespace key="6" case="first-letter">Datei</namespace>\n'
        f"    </namespaces>\n  </siteinfo>\n{''.join(pages)}</mediawiki>\n"
    )


def write_xml(path, pages, **more):
    data = xml_dump(pages, **more).encode()
    packers = {".bz2": bz2.compress, ".gz": gzip.compress}
    path.write_bytes(packers.get(path.suffix, bytes)(data))
    return str(path)


def rows_of(path, *columns):
    return list(iterate_rows(str(path), "geo_tags", columns or ("gt_page_id", "gt_lat", "gt_name")))


@pytest.mark.parametrize("columns", [COLUMNS_11, COLUMNS_13, SHUFFLED], ids=["11", "13", "shuffled"])
@pytest.mark.parametrize("separator", [",", ",\n"])
def test_columns_are_found_by_their_names(tmp_path, columns, separator):
    path = write_geo_tags(
        tmp_path / "t.sql.gz", [tag(1, 49.6, 6.1, gt_name="x"), tag(2, -3.5, 7)], columns, separator=separator
    )
    assert rows_of(path) == [("1", "49.60000000", "x"), ("2", "-3.50000000", None)]


@pytest.mark.parametrize(
    "name", ["O'Brien", "a\\", "\\'", "a),(b", "');", "x\ny", "ü, (3)", "", "NULL", "INSERT INTO `geo_tags` VALUES"]
)
def test_any_string_comes_back_as_it_went_in(tmp_path, name):
    path = write_geo_tags(tmp_path / "t.sql.gz", [tag(1, 1, 2, gt_name=name), tag(2, 1, 2)])
    assert [row[2] for row in rows_of(path)] == [name, None]


def test_other_spellings_of_values_are_read(tmp_path):
    text = sql_dump("geo_tags", COLUMNS_11, [])
    text += "INSERT INTO `geo_tags` VALUES (1, 2,_binary 'it''s',1,-1.5e1,0,NULL,0x6561727468,'a\\tb',NULL,NULL);\n"
    (tmp_path / "t.sql").write_text(text)
    assert rows_of(tmp_path / "t.sql", "gt_lat", "gt_globe", "gt_type", "gt_name") == [
        ("-1.5e1", "it's", "earth", "a\tb")
    ]


def test_rows_do_not_depend_on_where_a_chunk_ends(tmp_path, monkeypatch):
    path = write_geo_tags(
        tmp_path / "t.sql.gz", [tag(n, n / 10, 2, gt_name="o'x\\" * (n % 7)) for n in range(200)], per_insert=30
    )
    whole = rows_of(path)
    for size in (1, 7, 64, 1000):
        monkeypatch.setattr("geodata.wikipedia.stream.CHUNK_BYTES", size)
        assert rows_of(path) == whole


def test_a_line_of_many_megabytes_is_read(tmp_path):
    path = write_geo_tags(
        tmp_path / "t.sql.gz", [tag(n, 1, 2, gt_name="x" * 300) for n in range(50_000)], per_insert=10**9
    )
    assert len(rows_of(path)) == 50_000


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda text: text.replace("CREATE TABLE `geo_tags`", "CREATE TABLE `page`"), "holds the table 'page'"),
        (lambda text: text.replace("`gt_lat`", "`gt_latitude`"), "without gt_lat"),
        (lambda text: text.replace("CREATE TABLE", "-- CREATE"), "rows before a CREATE TABLE"),
        (lambda text: "nothing at all", "no CREATE TABLE"),
        (lambda text: "", "no CREATE TABLE"),
        (lambda text: text[: text.index("49.6") + 3], "cut off"),
        (lambda text: text[: text.index("INSERT") + 20], "cut off"),
        (lambda text: text.replace("'earth'", "'earth"), "no row of 13 values begins at"),
        (lambda text: text.replace("'earth'", "'earth','mars'"), "no row of 13 values begins at"),
    ],
)
def test_damaged_sql_is_named(tmp_path, damage, sentence):
    text = damage(sql_dump("geo_tags", COLUMNS_13, [list(tag(1, 49.6, 6.1).values())]))
    (tmp_path / "t.sql").write_text(text)
    with pytest.raises(DumpError, match=sentence):
        rows_of(tmp_path / "t.sql")


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
def test_a_packed_file_that_is_cut_off_is_named(tmp_path, pack):
    data = pack(sql_dump("geo_tags", COLUMNS_13, [list(tag(n, 49.6, 6.1).values()) for n in range(999)]).encode())
    (tmp_path / "t.sql.gz").write_bytes(data[: len(data) // 2])
    with pytest.raises(DumpError, match=r"t\.sql\.gz is cut off.*: fetch it again"):
        rows_of(tmp_path / "t.sql.gz")
    (tmp_path / "t.sql.gz").write_bytes(data[:20] + bytes(50) + data[70:])
    with pytest.raises(DumpError, match="fetch it again"):
        rows_of(tmp_path / "t.sql.gz")


def test_tags_are_kept_or_counted_by_reason(tmp_path):
    tags = [
        tag(30, 49.6, 6.1, gt_dim=500, gt_type="city"), tag(10, -1, -2), tag(20, 1, 2, gt_globe="moon"), tag(21, 1, 2, gt_primary=0),
        tag(22, 91, 2), tag(23, 1, -181), tag(30, 5, 5), tag(24, 0, 0) | {"gt_lat": None}, tag(40, 1, 1, gt_dim=-1, gt_type=""),
    ]  # fmt: skip
    tally = write_tags(write_geo_tags(tmp_path / "t.sql.gz", tags), "", str(tmp_path / "tags.parquet"))
    assert tally.describe() == {
        "seen": 9, "kept": 3, "dropped": {"bad_coordinates": 3, "duplicate": 1, "not_earth": 1, "not_primary": 1},
    }  # fmt: skip
    found = read_tags(str(tmp_path / "tags.parquet"))
    assert pq.read_table(tmp_path / "tags.parquet")["page_id"].to_pylist() == [10, 30, 40]
    first, last = found.find(30), found.find(40)
    assert (first.lat, first.lon, first.dim_m, first.type, first.is_disambiguation) == (49.6, 6.1, 500, "city", None)
    assert (last.dim_m, last.type) == (None, None)
    assert [found.find(number) for number in (0, 20, 31, 99)] == [None] * 4


def test_page_props_tell_disambiguations(tmp_path):
    props = sql_dump(
        "page_props",
        ["pp_page", "pp_propname", "pp_value", "pp_sortkey"],
        [[1, "disambiguation", "", None], [2, "wikibase_item", "Q'1", None]],
    )
    (tmp_path / "p.sql").write_text(props)
    write_tags(
        write_geo_tags(tmp_path / "t.sql.gz", [tag(1, 1, 1), tag(2, 1, 1)]),
        str(tmp_path / "p.sql"),
        str(tmp_path / "tags.parquet"),
    )
    found = read_tags(str(tmp_path / "tags.parquet"))
    assert [found.find(number).is_disambiguation for number in (1, 2)] == [True, False]


@pytest.mark.parametrize("suffix", [".xml", ".xml.gz", ".xml.bz2"])
def test_pages_come_with_text_where_it_is_wanted(tmp_path, suffix):
    pages = [
        page_xml(1, "A & B", "x < y\n&nbsp;" * 30_000), page_xml(2, "Talk:A", "no", namespace=1), page_xml(3, "C", "#REDIRECT [[A]]", redirect="A"),
        page_xml(4, "D", "unwanted"),
    ]  # fmt: skip
    stream = Pages(write_xml(tmp_path / f"p{suffix}", pages), lambda number: number != 4)
    found = list(stream)
    assert [(p.id, p.namespace, p.title, p.is_redirect) for p in found] == [
        (1, 0, "A & B", False), (2, 1, "Talk:A", False), (3, 0, "C", True), (4, 0, "D", False),
    ]  # fmt: skip
    assert [p.text for p in found] == ["x < y\n&nbsp;" * 30_000, "", "", ""]
    assert found[0].revision == 10
    assert stream.host == "en.wikipedia.org" and "datei" in stream.embedded


def test_several_bzip2_streams_are_one_file(tmp_path):
    text = xml_dump([page_xml(1, "A", "a"), page_xml(2, "B", "b")]).encode()
    (tmp_path / "p.xml.bz2").write_bytes(bz2.compress(text[:700]) + bz2.compress(text[700:]))
    assert [page.title for page in Pages(str(tmp_path / "p.xml.bz2"), lambda _: True)] == ["A", "B"]


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (xml_dump([page_xml(1, "A", "a")])[:-20], "is cut off"),
        (xml_dump([page_xml(1, "A", "a")]).replace("</title>", ""), "no well-formed XML"),
        (xml_dump([page_xml(1, "A", "a")]).replace("<id>1</id>", ""), "page id '', which is no number"),
        (xml_dump([page_xml("one", "A", "a")]), "page id 'one', which is no number"),
        ("<feed><doc>x</doc></feed>", "no MediaWiki dump"),
        ("", "is cut off"),
        ("616:12:Some title\n", "no well-formed XML"),
    ],
)  # fmt: skip
def test_damaged_xml_is_named(tmp_path, data, sentence):
    (tmp_path / "p.xml").write_text(data)
    with pytest.raises(DumpError, match=sentence):
        list(Pages(str(tmp_path / "p.xml"), lambda _: True))


@pytest.mark.parametrize(
    "declared",
    [
        '<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">',
        '<!ENTITY a SYSTEM "file:///etc/hostname">',
        '<!ENTITY % a SYSTEM "x.dtd"> %a;',
    ],
)
def test_a_document_type_is_refused_before_any_entity_is_declared(tmp_path, declared):
    path = write_xml(tmp_path / "p.xml", [page_xml(1, "A", "a")], head=f"<!DOCTYPE mediawiki [{declared}]>\n")
    with pytest.raises(DumpError, match="document type"):
        list(Pages(path, lambda _: True))


INTROS = {
    "'''Foo''' is a [[town]] in [[Bar (land)|Bar]].": "Foo is a town in Bar.",
    "{{Infobox\n| a = [[File:a.jpg|thumb]]\n| b = {{x|{{y}}}}\n}}\n'''A''' is.": "A is.",
    "[[File:a.jpg|thumb|A [[long|wide]] caption.]] [[Datei:b.png]]Text[[Category:X]] [[de:Bar]]": "Text",
    "A<ref name=\"x\">{{cite|y}}</ref> is<ref name=b /> here<!-- not\n== this ==\n-->.": "A is here.",
    "A ({{IPA|x}}) b (, ) c ({{lang-de|x}}; {{y}}) d ({{x}}, born 1900) e (1900 {{x}}, ) f.": "A b c d (born 1900) e (1900) f.",
    "A is {{convert|5|to|7|km|mi}} and {{nowrap|{{lang|fr|x y}}}} {{formatnum|2}} long , {{x}}, {{y}}.": "A is 5 to 7 km and x y long.",
    "Cold (-5 °C), born (1945\u2013), (a) (b).": "Cold (-5 °C), born (1945\u2013), (a) (b).",
    "One.\n\n\n{| class=x\n| cell || cell\n|}\n\n<gallery>\nFile:a.jpg|b\n</gallery>\nTwo&nbsp;&ndash; [http://x.y three] [http://x.y].\n== H ==\nNo.": "One.\nTwo \u2013 three.",
    "{{Box|\n== Not a heading ==\n}}\nLead.\n=== First ===\nNo.": "Lead.",
    "{{Box|\n{|\n| a\n|}}}\nLead.\n{|\n| {{x}}\n{|\n| b\n|}\n== c ==\n|}\nMore.": "Lead.\nMore.",
    "== At once ==\nNo.": "",
    "[[:Category:Towns]] and [[Wikipedia:X|x]]": "Category:Towns and x",
    "Unclosed {{box [[link ''x": "Unclosed {{box [[link x",
    "{{a}}" * 3000: "",
    "__NOTOC__\n* one\n* two": "one\ntwo",
}  # fmt: skip


@pytest.mark.parametrize("wikitext", INTROS, ids=lambda text: text[:30])
def test_the_intro_is_what_a_reader_sees(wikitext):
    assert read_intro(wikitext, EMBEDDED) == INTROS[wikitext]


@pytest.mark.parametrize(
    "filler", [" ", "\n", ", ", "(", "( ", "=", "=\n", "{{", "}}", "[[", "'", "<ref>", "{|\n", "a\u2013 ", "/ "]
)
def test_long_runs_of_anything_come_to_an_end(filler):
    read_intro(f"Start {filler * (20_000 // len(filler))} end.\n== H ==\n", EMBEDDED)


@pytest.mark.parametrize(
    "name",
    ["disambig", "Disambiguation", "disambiguation|geo", "Disambig-x", "dab", "geodis", "Begriffsklärung", " hndis\n"],
)
def test_templates_mark_disambiguations(name):
    assert is_disambiguation_page(f"Foo\n== x ==\n{{{{{name}}}}}")


@pytest.mark.parametrize(
    "name",
    ["disambiguation needed|date=x", "Disambiguation link needed", "Begriffsklärungshinweis", "dabble", "database"],
)
def test_other_templates_do_not(name):
    assert not is_disambiguation_page(f"Foo {{{{{name}}}}}")


def test_addresses_are_escaped_as_mediawiki_does():
    assert article_url("de", "Köln/Bonn? (A&B)") == "https://de.wikipedia.org/wiki/K%C3%B6ln/Bonn%3F_(A%26B)"


def test_a_page_in_two_files_is_kept_in_its_newest_revision(tmp_path, monkeypatch):
    monkeypatch.setattr("geodata.wikipedia.runs.ROWS_PER_RUN", 2)
    write_tags(
        write_geo_tags(tmp_path / "t.sql.gz", [tag(n, 49 + n / 100, 6) for n in range(1, 8)]),
        "",
        str(tmp_path / "tags.parquet"),
    )
    tags = read_tags(str(tmp_path / "tags.parquet"))
    old = [page_xml(n, f"P{n}", f"Old {n}.", revision=100) for n in range(1, 6)]
    new = [page_xml(n, f"P{n}", f"New {n}.", revision=101) for n in range(3, 8)]
    results = []
    for order in ([old, new], [new, old]):
        stems = [str(tmp_path / f"{number}") for number in range(2)]
        for stem, pages in zip(stems, order, strict=True):
            write_runs(write_xml(tmp_path / "p.xml", pages), tags, language="en", stem=stem)
        paths, tally, met = read_records(stems)
        merged = list(merge_runs(paths, tally))
        results.append(merged)
        assert tally.describe() == {"seen": 10, "kept": 7, "dropped": {"duplicate": 3}} and met == 7 and len(paths) == 6
    assert results[0] == results[1]
    assert {a.page_id: a.text for a in results[0]} == {1: "Old 1.", 2: "Old 2."} | {n: f"New {n}." for n in range(3, 8)}
    assert [a.cell for a in results[0]] == sorted(a.cell for a in results[0])


def test_a_dump_of_another_language_is_refused(tmp_path):
    write_tags(write_geo_tags(tmp_path / "t.sql.gz", [tag(1, 1, 1)]), "", str(tmp_path / "tags.parquet"))
    path = write_xml(tmp_path / "p.xml", [page_xml(1, "A", "a")], host="de.wikipedia.org")
    with pytest.raises(DumpError, match="give --language de"):
        write_runs(path, read_tags(str(tmp_path / "tags.parquet")), language="en", stem=str(tmp_path / "s"))
