import re

import geopandas
import pytest

from geodata.services.orthophotos import (
    ORTHOPHOTOS,
    WITHOUT_OPEN_SERVICE,
    Orthophoto,
    find_orthophoto,
    markdown_table,
)
from schemas.countries import TABLE
from tests.runs import ROOT

COVERED = [country for photo in ORTHOPHOTOS for country in photo.countries]


def test_every_european_country_has_a_service_or_a_reason():
    countries = geopandas.read_parquet(TABLE)
    europe = set(countries.iso_a2[countries.continent == "Europe"].dropna())
    assert sorted([*COVERED, *WITHOUT_OPEN_SERVICE]) == sorted(europe)


def test_a_country_finds_its_service():
    for photo in ORTHOPHOTOS:
        for country in photo.countries:
            assert find_orthophoto(country) is photo
    assert find_orthophoto("DE") is find_orthophoto("US") is find_orthophoto(None) is None


@pytest.mark.parametrize("photo", ORTHOPHOTOS, ids=lambda photo: photo.id)
def test_a_service_can_be_asked_and_says_whom_to_name(photo):
    assert re.fullmatch(r"https://[^/]+/\S+", photo.template)
    assert "apikey" not in photo.template.lower() and "token" not in photo.template.lower()
    assert photo.licence and photo.attribution and photo.licence_url.startswith("https://")
    assert photo.min_zoom <= 15 and photo.max_zoom >= 18
    assert not photo.synthetic


def test_ids_are_unique():
    assert len({photo.id for photo in ORTHOPHOTOS}) == len(ORTHOPHOTOS)


def test_the_table_names_every_country_once():
    services, without = markdown_table().split("\n\n")
    for table, expected in ((services, COVERED), (without, list(WITHOUT_OPEN_SERVICE))):
        rows = table.splitlines()[2:]
        assert sorted(code for row in rows for code in row.split("|")[1].strip().split(", ")) == sorted(expected)
        assert len({row.count("|") for row in table.splitlines()}) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"template": "https://h/{z}/{x}"}, "template"), ({"template": "https://h/{s}/{z}/{x}/{y}"}, "template"),
        ({"min_zoom": 20}, "20 to 19"), ({"countries": ("fr",)}, "fr"),
    ],
)  # fmt: skip
def test_a_bad_service_cannot_be_made(change, message):
    good = {
        "id": "a", "countries": ("FR",), "template": "https://h/{z}/{x}/{y}", "min_zoom": 0, "max_zoom": 19,
        "licence": "CC0-1.0", "licence_url": "", "attribution": "", "note": "",
    }  # fmt: skip
    assert Orthophoto(**good).synthetic is False
    with pytest.raises(ValueError, match=message):
        Orthophoto(**{**good, **change})


def test_the_readme_holds_the_catalogue():
    assert markdown_table() in (ROOT / "README.md").read_text(encoding="utf-8")
