"""The corpus page in a browser: what is drawn, clicked, chosen and typed."""

import pytest

pytest.importorskip("selenium", reason="needs pip install selenium")

from pipelines.exploring.server import Server
from pipelines.exploring.site import export, open_site
from tests.browser import MARKS
from tests.pipelines.hand_made import write_corpus
from tests.serving import serve

pytestmark = MARKS
PLACES = 12
HOSTILE = {
    "title": "<script>window.hit = 1</script><img src=x onerror='window.hit = 1'>\u202e\u05e9\u05dc\u05d5\u05dd \U0001f30d" + "Lang" * 2500,
    "text": "<b onmouseover='window.hit = 1'>bold</b> {{7*7}} \u0645\u0631\u062d\u0628\u0627",
    "licence": "</td><script>window.hit = 1</script>", "attribution": "<svg onload='window.hit = 1'>",
    "source": "__proto__", "item_id": "javascript:window.hit=1//'\"><iframe src='https://example.org'>",
}  # fmt: skip
DROPPED = {"detail": "<img src='https://example.org/x.png' onerror='window.hit = 1'>"}
SHOWN = "document.getElementById('shown').textContent"
PICTURES = (
    "[...document.querySelectorAll('#place img')].filter((image) => image.complete && image.naturalWidth > 0).length"
)
PIXELS = """(() => {
  const canvas = document.getElementById('points'), {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  const colours = {};
  for (let at = 0; at < data.length; at += 4) if (data[at + 3] === 255) {
    const name = [data[at], data[at + 1], data[at + 2]].join();
    colours[name] = (colours[name] ?? 0) + 1;
  }
  return colours;
})()"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page") / "corpus"
    samples = write_corpus(folder, places=PLACES, words={0: HOSTILE, -1: DROPPED}, name="<i>name</i>")
    return open_site(str(folder)), samples


@pytest.fixture(scope="module")
def address(made):
    with serve(Server(made[0], 0)) as running:
        yield running.address


@pytest.fixture
def page(window, address):
    window.size(1280, 800)
    window.open(address)
    yield window
    assert window.said() == []
    assert window.asked() <= {"http://127.0.0.1", "data://", "about://"}
    assert window.ask("window.hit === undefined && Object.prototype.hit === undefined")


def choose(page, name, value):
    page.act(
        f"const e = document.getElementById('{name}'); e.value = '{value}'; e.dispatchEvent(new Event('input')); e.dispatchEvent(new Event('change'))"
    )


def position(page, row):
    return page.ask(
        f"(() => {{ const map = sameplace.page.map, at = map.onScreen(map.x[{row}], map.y[{row}]), box = document.getElementById('points').getBoundingClientRect(); return [at.x + box.x, at.y + box.y]; }})()"
    )


def test_points_are_drawn_in_the_colours_of_their_splits(page):
    page.wait(f"Object.keys({PIXELS}).length > 0")
    colours = page.ask(PIXELS)
    assert set(colours) == {"0,114,178", "230,159,0", "0,158,115"}
    assert min(colours.values()) > 10
    assert page.ask(SHOWN) == str(PLACES)
    assert page.ask("document.getElementById('name').textContent") == "<i>name</i>"
    page.act("sameplace.page.map.look(0.5, 0.35, 900)")
    page.wait("!sameplace.page.map.frame")
    count = "new Set(new Uint32Array(document.getElementById('base').getContext('2d').getImageData(0, 0, 900, 700).data.buffer)).size"
    assert page.ask(count) > 20  # coasts have soft edges


def test_every_colour_tells_places_apart(page):
    page.wait(f"Object.keys({PIXELS}).length > 0")
    before = page.ask(PIXELS)
    for colour in ("views", "sentinel2_source", "sentinel2_date", "elevation", "cloud", "country"):
        choose(page, "choice-colour", colour)
        page.wait("!sameplace.page.map.frame")
        after = page.ask(PIXELS)
        assert after != before and len(after) > 1, colour
        is_ramp = colour in ("sentinel2_date", "cloud", "elevation")
        assert page.ask("document.querySelectorAll('#legend .ramp').length") == is_ramp, colour
        before = after


def test_a_click_shows_five_pictures_the_photo_s_place_and_credits(page, made):
    page.click(*position(page, 3))
    page.wait(f"{PICTURES} === 5")
    assert page.ask("location.hash") == f"#cell={made[1][3].key}"
    kinds = page.ask("[...document.querySelectorAll('#place .card h3')].map((title) => title.textContent)")
    assert kinds == [
        "Sentinel-2, true colour",
        "Sentinel-2, false colour",
        "Aerial image",
        "Elevation",
        "Photo",
        "Text",
    ]
    marks = page.ask(
        "[...document.querySelectorAll('.card.sentinel2 .photo-mark circle')].map((mark) => [mark.getBoundingClientRect(), mark.closest('.frame').querySelector('img').getBoundingClientRect()].map((box) => [box.x + box.width / 2, box.y + box.height / 2, box.x, box.y, box.width]))"
    )
    assert len(marks) == 2
    for (x, y, *_), (_, _, left, top, width) in marks:  # where the photo's position lies in the patch
        at = page.ask("sameplace.shown.observations[0].marks[0].at")
        assert (x - left) / width == pytest.approx(at[0], abs=0.01) and (y - top) / width == pytest.approx(
            at[1], abs=0.01
        )
    credits = page.ask("[...document.querySelectorAll('#place .credit')].map((line) => line.textContent)")
    assert len(credits) == 6 and all("tests" in line and "CC0-1.0" in line for line in credits)


def test_filters_change_the_count_the_points_and_the_numbers(page, made):
    page.wait(f"Object.keys({PIXELS}).length > 0")
    everything = sum(page.ask(PIXELS).values())
    page.act("document.getElementById('tab-numbers').click()")
    first = page.ask("document.querySelector('#numbers td:last-child').textContent")
    page.act("document.querySelector('#choice .chip input').click()")  # train
    others = sum(sample.split != "train" for sample in made[1])
    assert page.ask(SHOWN) == str(others)
    page.wait("!sameplace.page.map.frame")
    assert 0 < sum(page.ask(PIXELS).values()) < everything
    assert page.ask("document.querySelector('#numbers td:last-child').textContent") != first
    page.act("document.getElementById('reset').click()")
    for name, value, number in (
        ("choice-least", "5", PLACES - 2), ("choice-country", "0", PLACES - 1), ("choice-cloud", "4", 5),
        ("choice-from", "2024-06-01", PLACES - 6), ("choice-to", "2024-05-31", 5), ("choice-licence", "1", 1),
    ):  # fmt: skip
        choose(page, name, value)
        assert page.ask(SHOWN) == str(number), name
        page.act("document.getElementById('reset').click()")
        assert page.ask(SHOWN) == str(PLACES)


def test_hostile_words_are_shown_as_words(page, made):
    page.act(f"location.hash = '#cell={made[1][0].key}'")
    page.wait(f"{PICTURES} === 5")
    shown = page.ask("document.querySelector('#place .words h4').textContent")
    assert shown == HOSTILE["title"]
    assert page.ask("document.querySelector('#place .words p').textContent") == HOSTILE["text"]
    assert HOSTILE["attribution"] in page.ask("document.querySelector('#place').textContent")
    for tab in ("numbers", "drops"):
        page.act(f"document.getElementById('tab-{tab}').click()")
    assert HOSTILE["licence"] in page.ask("document.getElementById('numbers').textContent")
    assert DROPPED["detail"] in page.ask("document.getElementById('drops').textContent")
    assert (
        page.ask(
            "document.querySelectorAll('main img, main script, main iframe, #place script, #place iframe, #place b').length"
        )
        == 0
    )
    assert page.ask("[...document.querySelectorAll('a')].map((link) => link.getAttribute('href'))") == [
        f"#cell={made[1][0].key}"
    ]
    assert page.ask("document.querySelector('.card.text').getBoundingClientRect().width") < 500
    choose(page, "choice-colour", "text_source")
    assert "__proto__" in page.ask("document.getElementById('legend').textContent")


def test_credits_link_to_mapillary_and_wikipedia_alone(page):
    found = page.ask("""[
      {source: 'mapillary', item: '1464734177204763', modality: 'street', credit: 'a'},
      {source: 'wikipedia', item: 'fr:7', modality: 'text', credit: 'Wikipedia contributors, https://fr.wikipedia.org/wiki/Mont_Blanc_(Alpes)'},
      {source: 'mapillary', item: '1/../x', modality: 'street', credit: 'a'},
      {source: 'hand', item: '1', modality: 'text', credit: 'https://evil.example/wiki/x'},
      {source: 'hand', item: '1', modality: 'text', credit: 'https://fr.wikipedia.org.evil.example/wiki/x'},
      {source: 'hand', item: '1', modality: 'text', credit: 'javascript:alert(1)'},
    ].map((one) => originOf(one) ?? null)""")
    links = ["https://www.mapillary.com/app/?pKey=1464734177204763", "https://fr.wikipedia.org/wiki/Mont_Blanc_(Alpes)"]
    assert found == [*links, None, None, None, None]


def test_what_is_missing_says_why(page, made):
    page.act(f"location.hash = '#cell={made[1][-2].key}'")
    page.wait(f"{PICTURES} === 4")
    assert (
        page.ask("document.querySelector('.card.missing .blank').textContent")
        == f"Not in the corpusnodata: {DROPPED['detail']}"
    )
    page.act("document.getElementById('tab-drops').click()")
    assert page.ask("[...document.querySelectorAll('.drop summary b')].map((number) => number.textContent)") == [
        "40",
        "1",
    ]
    page.act("document.querySelector('.drop .link').click()")  # a dropped view's place that is in the corpus
    assert page.ask("location.hash") == f"#cell={made[1][-2].key}"


def test_everything_can_be_done_with_keys(page, made):
    page.act("document.getElementById('points').focus()")
    page.press("+", 187)
    page.press("ArrowRight", 39)
    page.press("Enter", 13)
    page.wait(f"!document.getElementById('place').hidden && {PICTURES} >= 4")
    first = page.ask("location.hash")
    page.press("ArrowRight", 39)
    page.wait(f"location.hash !== '{first}'")
    page.press("ArrowLeft", 37)
    page.wait(f"location.hash === '{first}'")
    page.press("Escape", 27)
    page.wait("document.getElementById('place').hidden")
    assert page.ask("document.activeElement.id") == "points" and page.ask("location.hash") == ""
    page.act("document.getElementById('tab-choice').focus()")
    page.press("ArrowRight", 39)
    assert page.ask("document.activeElement.id") == "tab-numbers" and not page.ask(
        "document.getElementById('numbers').hidden"
    )
    for _ in range(3):
        page.press("Tab", 9)
    assert page.ask("document.activeElement !== document.body")


def test_a_link_and_the_cell_s_name_open_one_place(window, page, address, made):
    key = made[1][5].key
    window.open(f"{address}#cell={key}")
    page.wait(f"{PICTURES} === 5")
    assert page.ask("document.querySelector('#place h2 a').textContent") == key
    other = made[1][6].key
    page.act(f"document.getElementById('find-key').value = '{other}'; document.getElementById('find').requestSubmit()")
    page.wait(f"document.querySelector('#place h2 a').textContent === '{other}'")
    page.act("history.back()")
    page.wait(f"document.querySelector('#place h2 a').textContent === '{key}'")
    window.open(f"{address}#cell=<img src=x>")
    assert "no cell of that link" in page.ask("document.getElementById('count').textContent")


@pytest.mark.parametrize("dark", [False, True])
def test_a_phone_shows_all_in_either_light(page, made, dark):
    page.size(390, 800, dark=dark)
    page.act("dispatchEvent(new Event('resize'))")
    page.wait("sameplace.page.map.width === 390")
    ground = page.ask("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(16, 22, 21)" if dark else "rgb(246, 247, 245)")
    assert page.ask("document.documentElement.scrollWidth") == 390
    page.act(f"location.hash = '#cell={made[1][0].key}'")
    page.wait(f"{PICTURES} === 5")
    assert page.ask("document.getElementById('place').scrollWidth") <= 390
    page.act("document.getElementById('theme').click()")  # light
    page.act("document.getElementById('theme').click()")  # dark
    assert page.ask("getComputedStyle(document.body).backgroundColor") == "rgb(16, 22, 21)"
    page.act("localStorage.clear()")


def test_the_exported_site_opens_from_disk(window, made, tmp_path):
    site, samples = made
    list(export(site, str(tmp_path / "site"), previews=None))
    window.said(), window.asked()
    window.open((tmp_path / "site/index.html").as_uri() + f"#cell={samples[2].key}")
    window.wait(f"{PICTURES} === 5")
    window.wait(f"Object.keys({PIXELS}).length === 3")
    window.act("document.querySelector('#choice .chip input').click()")
    assert window.ask(SHOWN) == str(sum(sample.split != "train" for sample in samples))
    window.act(
        "const i = new Image(); i.src = 'https://example.org/x.png'; window.refused = new Promise((r) => { i.onerror = () => r(1); })"
    )
    assert window.driver.execute_async_script("window.refused.then(arguments[0])") == 1
    said = window.said()
    assert len(said) == 1 and "Content Security Policy" in said[0]  # the picture from elsewhere, and nothing else
    assert window.asked() <= {"file://", "data://", "about://"}
