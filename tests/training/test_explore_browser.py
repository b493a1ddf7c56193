"""The model page in a browser: what is typed, clicked and dropped, and what comes back."""

from dataclasses import replace

import numpy as np
import pytest
import simplejpeg

pytest.importorskip("selenium", reason="needs pip install selenium")

from tests.browser import MARKS
from tests.serving import serve
from tests.training.data.makers import make_keys, make_picture, make_sample, write_corpus
from tests.training.untrained import make_run
from training import explore
from training.exploring.server import Server

pytestmark = MARKS
HOSTILE = (
    "<script>window.hit = 1</script><img src=x onerror='window.hit = 1'>\u202e\u05e9\u05dc\u05d5\u05dd \U0001f30d"
    + "Lang" * 2500
)
CARDS = "document.querySelectorAll('#results li').length"
LOADED = "[...document.querySelectorAll('%s img')].filter((image) => image.complete && image.naturalWidth > 0).length"
HEAT = "Boolean(sameplace.map.heat) && !sameplace.map.frame"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model_page")
    samples = []
    for number, split in enumerate(("train", "val", "test")):
        for key in make_keys(5, start=(6.13 + number / 5, 49.61)):
            sample = make_sample(key, split=split)
            samples.append(replace(sample, observations=tuple(
                replace(one, payload=HOSTILE.encode(), attribution=HOSTILE[:80]) if one.modality == "text" else one
                for one in sample.observations
            )))  # fmt: skip
    corpus = write_corpus(folder / "<i>corpus</i>", samples)
    run = make_run(folder / "<b>run<!--", corpus)
    options = explore._parse([str(run), str(corpus), "--cache", "", "--device", "cpu"])
    with serve(Server(explore.open_explorer(options), 0)) as running:
        yield running.address


@pytest.fixture
def page(window, address):
    window.size(1280, 800)
    window.open(address)
    yield window
    assert window.said() == []
    assert window.asked() <= {"http://127.0.0.1", "blob://", "data://", "about://"}
    assert window.ask(
        "window.hit === undefined && document.querySelectorAll('main script, main b b, main i i').length === 0"
    )


def search(page, text):
    before = page.ask("document.documentElement.dataset.shown ?? ''")
    page.act(f"document.getElementById('text').value = {text!r}; document.getElementById('words').requestSubmit()")
    page.wait(f"(document.documentElement.dataset.shown ?? '') !== '{before}' && {HEAT}")


def test_a_text_shows_cards_and_heat_and_a_card_its_place(page):
    assert page.ask("document.getElementById('name').textContent") == "<b>run<!--"
    search(page, "<b>harbour</b>")
    assert page.ask(CARDS) == 10
    page.wait(LOADED % "#results li:first-child" + " === 3")
    colours = "new Set(new Uint32Array(document.getElementById('base').getContext('2d').getImageData(200, 200, 400, 300).data.buffer)).size"
    assert page.ask(colours) > 50
    assert page.ask("document.querySelector('#query bdi').textContent") == "<b>harbour</b>"
    assert page.ask("document.querySelector('#results .excerpt').textContent").startswith("<script>")
    page.act("document.querySelector('#results button').focus()")
    page.act("document.activeElement.click()")
    page.wait(LOADED % "#place" + " === 4")
    page.wait("document.querySelectorAll('#place .patch canvas').length === 2")
    assert page.ask("document.querySelectorAll('#place .star').length") == 3  # two maps and the patch itself
    assert page.ask("document.querySelector('#place .words p').textContent") == HOSTILE[:10000]
    assert "onerror" in page.ask("document.querySelector('#place').textContent")
    star, picture = page.ask(
        "['.star polygon', 'img'].map((part) => document.querySelector(`#place .sentinel2 ${part}`).getBoundingClientRect()).map((box) => [box.x + box.width / 2, box.y + box.height / 2, box.width])"
    )
    spot = page.ask(
        "fetch(`data/place/${location.hash.slice(6)}`).then((answer) => answer.json()).then((place) => place.spots.street)"
    )
    assert (star[0] - picture[0]) / picture[2] * 2 == pytest.approx(spot[0], abs=0.03)
    assert (star[1] - picture[1]) / picture[2] * 2 == pytest.approx(spot[1], abs=0.03)
    page.press("Escape", 27)
    page.wait("document.getElementById('place').hidden")
    assert page.ask("document.activeElement.closest('#results') !== null")


def test_a_click_a_photo_and_another_target_search_anew(page):
    box = page.ask(
        "(() => { const box = document.getElementById('points').getBoundingClientRect(); return [box.x + 40, box.y + 60]; })()"
    )
    page.click(*box)
    page.wait(f"document.documentElement.dataset.shown && {HEAT}")
    assert page.ask("sameplace.answer.view") == "location" and "away" in page.ask(
        "document.querySelector('#results .facts').textContent"
    )
    page.act("document.querySelector('#targets input[value=dem]').click()")
    page.wait("sameplace.answer.target === 'dem'")
    jpeg = simplejpeg.encode_jpeg(make_picture(300, 500, np.random.default_rng(2)), colorspace="RGB")
    page.act(
        f"const files = new DataTransfer(); files.items.add(new File([new Uint8Array({list(jpeg)})], '<img src=x>.jpg', {{type: 'image/jpeg'}}));"
        "dispatchEvent(new DragEvent('drop', {dataTransfer: files, cancelable: true}))"
    )
    page.wait("sameplace.answer.view === 'street'")
    page.wait(LOADED % "#query" + " === 1")
    assert page.ask("document.querySelector('#query bdi').textContent") == "<img src=x>.jpg"
    page.act(
        "const files = new DataTransfer(); files.items.add(new File(['none'], 'a.png', {type: 'image/png'}));"
        "dispatchEvent(new DragEvent('drop', {dataTransfer: files, cancelable: true}))"
    )
    page.wait("document.getElementById('status').textContent.startsWith('That picture cannot be read')")
    page.act(
        "document.getElementById('position').value = '6.1, 95'; document.getElementById('text').value = ''; document.getElementById('words').requestSubmit()"
    )
    page.wait("document.getElementById('status').textContent.includes('latitude')")
    page.said()  # the browser itself notes the answer 400


def test_keys_move_the_map_and_search_and_a_link_opens_a_place(page, window, address):
    page.act("document.getElementById('points').focus()")
    page.press("ArrowRight", 39)
    page.press("+", 187)
    page.press("Enter", 13)
    page.wait(f"document.documentElement.dataset.shown && {HEAT}")
    key = page.ask("sameplace.model.keys[4]")
    window.open(f"{address}#cell={key}")
    page.wait(LOADED % "#place" + " === 4")
    page.act("document.querySelector('#place .street .again').click()")
    page.wait(f"sameplace.answer?.key === '{key}'")
    assert "the place itself is number" in page.ask("document.getElementById('status').textContent")


@pytest.mark.parametrize("dark", [False, True])
def test_a_phone_shows_all_in_either_light(page, dark):
    page.size(390, 800, dark=dark)
    page.act("dispatchEvent(new Event('resize'))")
    assert page.ask("getComputedStyle(document.body).backgroundColor") == (
        "rgb(16, 22, 21)" if dark else "rgb(246, 247, 245)"
    )
    search(page, "Berg")
    assert page.ask("document.documentElement.scrollWidth") == 390
    page.act("document.querySelector('#results button').click()")
    page.wait(LOADED % "#place" + " === 4")
    assert page.ask("document.getElementById('place').scrollWidth") <= 390
