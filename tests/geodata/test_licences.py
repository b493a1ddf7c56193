import pytest

from geodata.licences import LICENCES, allows, find_licence, markdown_table
from geodata.services.orthophotos import ORTHOPHOTOS
from geodata.sources import elevation, encyclopaedia, sentinel2, street
from tests.runs import ROOT

LIVE = [elevation.LICENCE, elevation.SEA_LICENCE, encyclopaedia.LICENCE, sentinel2.LICENCE, street.LICENCE]


@pytest.mark.parametrize("statement", [*LIVE, *sorted({photo.licence for photo in ORTHOPHOTOS})])
def test_what_live_sources_state_is_known_and_open(statement):
    assert find_licence(statement) is not None and allows("open-commercial", statement)


@pytest.mark.parametrize("statement", ["cc by-sa 4.0", "CC_BY_SA_4.0", "http://creativecommons.org/licenses/by-sa/4.0"])
def test_case_and_blanks_and_addresses_do_not_matter(statement):
    assert find_licence(statement).id == "CC-BY-SA-4.0"


@pytest.mark.parametrize(
    "statement", ["", "CC-BY-4.0 (no commercial use)", "CC-BY-NC-4.0", "CC-BY-ND-4.0", "MIT; and more", "all rights reserved"]
)  # fmt: skip
def test_what_is_closed_or_not_known_word_for_word_is_barred(statement):
    assert allows("all", statement) and not allows("open-commercial", statement)


def test_no_two_licences_share_a_name():
    names = [name.casefold() for one in LICENCES for name in {one.id, one.url}]
    assert len(names) == len(set(names))
    assert all(one.url.startswith("https://") and one.asks for one in LICENCES)


def test_the_readme_shows_the_table():
    assert markdown_table() in (ROOT / "README.md").read_text(encoding="utf-8")
