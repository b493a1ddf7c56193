from html.parser import HTMLParser

from training.reporting.page import Page

EVIL = '<script>alert("x")</script> & \u202eevil'
PNG = b"\x89PNG\r\n\x1a\n"


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found, self.text = [], []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)


def test_everything_is_escaped_and_nothing_is_fetched(tmp_path):
    (tmp_path / "p.png").write_bytes(PNG)
    page = Page(EVIL)
    page.heading(EVIL), page.paragraph(EVIL), page.code(EVIL)
    page.table(["a", EVIL], [[EVIL, "2"]])
    page.picture(tmp_path / "p.png", EVIL)
    tags = Tags()
    tags.feed(page.write(tmp_path / "deep" / "page.html").read_text())
    names = [name for name, _ in tags.found]
    assert "script" not in names and names.count("td") == 2
    assert [text for text in tags.text if "alert" in text] == [EVIL] * 8
    links = [value for _, attrs in tags.found for key, value in attrs.items() if key in ("src", "href")]
    assert links == ["data:image/png;base64,iVBORw0KGgo="]


def test_a_table_without_rows_is_left_out(tmp_path):
    page = Page("t")
    page.table(["a"], [])
    assert "<table" not in page.write(tmp_path / "p.html").read_text()


def test_a_column_with_a_long_text_is_one_of_words_from_head_to_foot(tmp_path):
    page = Page("t")
    page.table(
        ["name", "share", "about"],
        [["a", "1.0", "short"], ["b", "2.0", "a text of more than forty characters, all told"]],
    )
    text = page.write(tmp_path / "p.html").read_text()
    assert "<th>share</th><th class=words>about</th>" in text and "<td>1.0</td><td class=words>short</td>" in text
