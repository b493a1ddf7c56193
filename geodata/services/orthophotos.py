"""The catalogue of open national orthophotos that are served as Web Mercator tiles.

A service is here only if its pictures cover the whole country, need no key, and are free for everybody by their own
licence: a permission given to OpenStreetMap alone is none for us. It knows nothing of tiles, pixels or HTTP.

Where the facts come from: addresses from xyzservices; from osmlab/editor-layer-index (ELI below), directory
`sources/europe`, commit cd02c6d of October 2024; or from public code that uses them. Licences from the publishers'
pages; where only a second hand was readable, from versatiles-org/orthophotos (VT below), directory `src/regions`,
commit 2dc2bc8 of May 2026. No service was asked while this was written.
"""

import re
from dataclasses import dataclass

from xyzservices import TileProvider, providers

_PLACES = ({"z", "x", "y"}, {"z", "x", "-y"})


@dataclass(frozen=True)
class Orthophoto:
    """One tile service of aerial pictures."""

    id: str
    """Word that stands in the records' provenance."""
    countries: tuple[str, ...]
    """ISO 3166 alpha-2 codes of the countries that it covers altogether."""
    template: str
    """Address with {z}, {x} and {y}, or {-y} where rows are counted from the south (TMS)."""
    min_zoom: int
    """Coarsest level that holds aerial pictures; some services show satellite pictures on the coarser ones."""
    max_zoom: int
    """Finest level."""
    licence: str
    """SPDX identifier, or the licence's own name."""
    licence_url: str
    """Where the licence or the terms are written."""
    attribution: str
    """Whom a copy of the pictures must name."""
    note: str
    """What one must know before using it; empty where nothing."""
    synthetic: bool = False
    """True for the pictures of the demo world, which show no real place."""

    def __post_init__(self) -> None:
        if set(re.findall(r"{(.*?)}", self.template)) not in _PLACES:
            raise ValueError(f"A template has the places {{z}}, {{x}} and {{y}} or {{-y}}, unlike {self.template!r}.")
        if not 0 <= self.min_zoom <= self.max_zoom <= 30:
            raise ValueError(f"Zooms rise from 0 to 30 at most, unlike {self.min_zoom} to {self.max_zoom}.")
        if not all(re.fullmatch("[A-Z]{2}", country) for country in self.countries):
            raise ValueError(f"Countries are ISO 3166 alpha-2 codes, unlike {self.countries}.")


def find_orthophoto(country: str | None) -> Orthophoto | None:
    """Returns the service that covers a country (ISO 3166 alpha-2); None where there is none, and at sea."""
    return _BY_COUNTRY.get(country) if country else None


def markdown_table() -> str:
    """Returns the catalogue for people: a table of the services and one of the countries without."""
    rows = [
        f"| {', '.join(photo.countries)} | {photo.id} | [{photo.licence}]({photo.licence_url}) | {photo.attribution} |"
        for photo in ORTHOPHOTOS
    ]
    head = ["| countries | service | licence | attribution |", "| --- | --- | --- | --- |"]
    by_reason: dict[str, list[str]] = {}
    for country, reason in WITHOUT_OPEN_SERVICE.items():
        by_reason.setdefault(reason, []).append(country)
    without = [f"| {', '.join(countries)} | {reason} |" for reason, countries in by_reason.items()]
    return "\n".join([*head, *rows, "", "| without an open tile service | why |", "| --- | --- |", *without])


def _known(
    id: str, countries: tuple[str, ...], provider: TileProvider, *, licence: tuple[str, str], attribution: str = ""
) -> Orthophoto:
    """A service that xyzservices knows; it says nothing of licences, and not always who the licensor is."""
    template = provider.build_url(x="{x}", y="{y}", z="{z}")
    named = ", ".join(text for text in (attribution, provider["attribution"]) if text)
    return Orthophoto(
        id, countries, template, int(provider.get("min_zoom", 0)), int(provider["max_zoom"]), *licence, named, ""
    )


_CC_BY = "CC-BY-4.0"

ORTHOPHOTOS: tuple[Orthophoto, ...] = (
    # Licence: wiki.openstreetmap.org/wiki/AT/basemap; VT at.ts.
    _known(
        "at.basemap.orthofoto", ("AT",), providers.BasemapAT.orthofoto, licence=(_CC_BY, "https://basemap.at"),
    ),
    # Licence: the page below and geo.admin.ch/en/general-terms-of-use-fsdi (free for any use, name the source, fair
    # use); VT ch.ts. That it covers Liechtenstein was found by public code that probed the same collection.
    _known(
        "ch.swisstopo.swissimage", ("CH", "LI"), providers.SwissFederalGeoportal.SWISSIMAGE,
        licence=("swisstopo OGD", "https://www.swisstopo.admin.ch/en/conditions-geodata"),
    ),
    # Licence: ELI fr/BDOrthoIGN.geojson; VT fr/scraper.ts. The code FR includes the overseas departments.
    _known(
        "fr.ign.bdortho", ("FR",), providers.GeoportailFrance.orthos, attribution="IGN BD ORTHO",
        licence=("etalab-2.0", "https://www.etalab.gouv.fr/licence-ouverte-open-licence/"),
    ),
    # Licence: pdok.nl/introductie/-/article/luchtfoto-pdok (open data); ELI nl/PDOK-Luchtfoto-Beeldmateriaal-OrthoHR-
    # latest.geojson (CC BY 4.0); VT nl.ts. The 25 cm summer mosaic.
    _known(
        "nl.pdok.ortho25", ("NL",), providers.nlmaps.luchtfoto, attribution="Beeldmateriaal.nl",
        licence=(_CC_BY, "https://www.pdok.nl/introductie/-/article/luchtfoto-pdok"),
    ),
    # Template and zooms: public code only; ELI has the WMS of the same pictures, cz/CzechCUZK_ortophoto.geojson.
    # Licence: the page below.
    Orthophoto(
        "cz.cuzk.ortofoto", ("CZ",),
        "https://ags.cuzk.gov.cz/arcgis1/rest/services/ORTOFOTO_WM/MapServer/tile/{z}/{y}/{x}", 6, 19,
        _CC_BY, "https://geoportal.cuzk.gov.cz/?lng=EN&mode=TextMeta&text=data_uvod", "ČÚZK", "",
    ),
    # Template: ELI ee/EstoniaOrtho-Maaamet-TMS.geojson. Licence: the page below (any lawful use, name the source and
    # its age); VT ee.ts calls it CC BY 4.0.
    Orthophoto(
        "ee.maaamet.foto", ("EE",), "https://tiles.maaamet.ee/tm/tms/1.0.0/foto@GMC/{z}/{x}/{-y}.png", 14, 18,
        "Estonian Land Board open data",
        "https://geoportaal.maaamet.ee/index.php?lang_id=2&page_id=618&plugin_act=litsents",
        "Orthophoto: Maa- ja Ruumiamet (Estonian Land and Spatial Development Board)",
        "Below zoom 14 it shows a satellite mosaic.",
    ),
    # Template: ELI es/PNOASpain-TMS.geojson. Licence: the page below (order FOM/2807/2015, compatible with CC BY 4.0).
    Orthophoto(
        "es.ign.pnoa", ("ES",), "https://tms-pnoa-ma.idee.es/1.0.0/pnoa-ma/{z}/{x}/{-y}.jpeg", 13, 19,
        _CC_BY, "https://www.ign.es/web/en/ign/portal/politica-datos",
        "PNOA cedido por © Instituto Geográfico Nacional, CC BY 4.0 scne.es",
        "Below zoom 13 it shows Sentinel-2. Bulk readers of a sister service were answered 502 (VT es.ts).",
    ),
    # Template: ELI lu/Luxembourg-GeoportailOrthoLatest.geojson. Licence: VT lu.ts, data.public.lu.
    Orthophoto(
        "lu.act.ortho", ("LU",),
        "https://wmts1.geoportail.lu/opendata/wmts/ortho_latest/GLOBAL_WEBMERCATOR_4_V3/{z}/{x}/{y}.jpeg", 5, 20,
        "CC0-1.0", "https://data.public.lu/en/datasets/bd-l-ortho-webservices-wms-et-wmts",
        "Administration du Cadastre et de la Topographie, Luxembourg", "",
    ),
    # Template: ELI pl/Geoportal2Orthophotomap(aerialimage)_WMTS.geojson. Licence: the law, articles 40a (2) and 40c
    # (5): neither fee nor licence; the portal's rules ask to name the source; VT pl.ts.
    Orthophoto(
        "pl.gugik.orto", ("PL",),
        "https://mapy.geoportal.gov.pl/wss/service/PZGIK/ORTO/WMTS/StandardResolution?SERVICE=WMTS&REQUEST=GetTile"
        "&VERSION=1.0.0&LAYER=ORTOFOTOMAPA&STYLE=default&FORMAT=image/jpeg"
        "&TILEMATRIXSET=EPSG:3857&TILEMATRIX=EPSG:3857:{z}&TILEROW={y}&TILECOL={x}", 0, 19,
        "free by law (Prawo geodezyjne i kartograficzne)", "https://www.geoportal.gov.pl/regulamin",
        "Główny Urząd Geodezji i Kartografii, geoportal.gov.pl",
        "Public code reports that the terms of the view service forbid harvesting: ask GUGiK before a large corpus.",
    ),
    # Template: ELI si/gurs-dof025.geojson. Licence: e-prostor.gov.si/dostop-do-podatkov (CC BY 4.0).
    Orthophoto(
        "si.gurs.dof025", ("SI",),
        "https://gis.level2.si/geoserver/gwc/service/tms/1.0.0/level2%3ADOF025_latest@EPSG%3A3857@jpeg"
        "/{z}/{x}/{-y}.jpeg", 8, 20,
        _CC_BY, "https://www.e-prostor.gov.si/dostop_do_podatkov/dostop_do_podatkov/",
        "Geodetska uprava Republike Slovenije, DOF025, 2020-2022; Level2.si",
        "Served by a company, not by the state: ask Level2.si before a large corpus.",
    ),
    # Template and zooms: public code only; ELI has a mirror of volunteers, sk/OrtofotomozaikaSR.geojson. Licence: VT
    # sk.ts, rpi.gov.sk; juhele/opengeodata, GIS_supporting_layers/GIS_layers_3_SVK/readme.md. Without blankTile a gap
    # would be a blank picture.
    Orthophoto(
        "sk.gku.ortofotomozaika", ("SK",),
        "https://zbgis.skgeodesy.sk/zbgis/rest/services/Ortofoto/MapServer/tile/{z}/{y}/{x}?blankTile=false", 7, 19,
        _CC_BY, "https://www.geoportal.sk/en/zbgis/orthophotomosaic/", "GKÚ Bratislava, NLC", "",
    ),
)  # fmt: skip
"""All services; no country has two."""

_BY_COUNTRY = {country: photo for photo in ORTHOPHOTOS for country in photo.countries}

_NOT_OPEN = "no open national orthophoto was found"
_WMS_ONLY = "open (CC BY 4.0), but by WMS only, no tiles"
_NO_LICENCE = "public by WMS, but without a licence"

WITHOUT_OPEN_SERVICE: dict[str, str] = {
    "AD": "public by WMS of 2012, but without a licence",
    "AL": "open (CC0), but by WMS only, no tiles",
    "AX": "not known whether the Finnish pictures cover it; those need a key",
    "BA": "both entities restrict use",
    "BE": "the national orthophoto is open by WMS only; the tiles of Flanders cover a part",
    "BG": "by WMS only, and its licence is disputed",
    "BY": _NOT_OPEN,
    "CY": _NO_LICENCE,
    "DE": "no national service; the states' open ones cover a part each, many by WMS only",
    "DK": "open, but with a token, and as tiles in EPSG:25832 only",
    "FI": "open (CC BY 4.0), but with a personal key; the open tiles of Kapsi ended in 2025",
    "FO": _NOT_OPEN,
    "GB": "the national pictures are sold or kept for the public sector",
    "GG": _NOT_OPEN,
    "GR": "public by WMS of 2007-2009; commercial use is forbidden",
    "HR": _NO_LICENCE,
    "HU": "by WMS only, and fine scales of recent years are restricted",
    "IE": "the national pictures are sold",
    "IM": _NOT_OPEN,
    "IS": "open (CC BY 4.0), but covers a part",
    "IT": "the national pictures are AGEA's, all rights reserved",
    "JE": _NOT_OPEN,
    "LT": "public tiles, but without a licence",
    "LV": "open (CC0), but by WMS only, no tiles",
    "MC": "not known whether the French pictures cover it",
    "MD": "by WMS only, no tiles; licence not verified",
    "ME": _NO_LICENCE,
    "MK": _NOT_OPEN,
    "MT": "open, but by WMS only, no tiles",
    "NO": "Norge digitalt licence, for its members; the open tiles of Svalbard cover a part",
    "PT": _WMS_ONLY,
    "RO": "open (CC BY 4.0), but as files only",
    "RS": _NOT_OPEN,
    "RU": _NOT_OPEN,
    "SE": "CC BY 4.0 after a review of each user, with an account; the open services of cities cover a part",
    "SM": _NOT_OPEN,
    "UA": "the open services of cities cover a part",
    "VA": _NOT_OPEN,
    "XK": _NOT_OPEN,
}
"""European countries without a service, and why: by the sources above, VT first; DK also by the provider's manual,
confluence.sdfi.dk/display/MYD/WMTS; FI by pull request 2753 of ELI; NO by kartkatalog.geonorge.no.
"""
