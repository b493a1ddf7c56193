"""The licences that observations come under, and what they allow: one table of facts, read by plans and by credits.

It judges words, not law: a statement that the table does not hold word for word counts as unknown, and what is unknown
is nobody's to give away. CC BY-SA and the like are open to commerce, and bind those who pass on an adaptation to the
same licence.
"""

from dataclasses import dataclass

ALL, OPEN_COMMERCIAL = "all", "open-commercial"
LICENCE_RULES = (ALL, OPEN_COMMERCIAL)
"""What a corpus may be built from: anything, or only what may be used, changed and sold by everybody."""

COPERNICUS_DEM_NOTICE = (
    "produced using Copernicus WorldDEM-30 © DLR e.V. 2010-2014 and © Airbus Defence and Space GmbH 2014-2018 provided "
    "under COPERNICUS by the European Union and ESA; all rights reserved. The organisations in charge of the "
    "Copernicus programme by law or by delegation do not incur any liability for any use of the Copernicus "
    "WorldDEM-30. The same holds of Copernicus WorldDEM-90 where a record's note says GLO-90."
)
"""What article 6 (b) and (c) of that licence asks of those who pass on adapted heights."""


@dataclass(frozen=True)
class Licence:
    """One licence or set of terms."""

    id: str
    """SPDX identifier, or the licence's own name as records state it."""
    url: str
    """Where it is written."""
    is_open: bool
    """True where everybody may copy, change and sell under it."""
    asks: str
    """What it asks of those who pass a copy on."""
    is_spdx: bool = True
    """True where `id` is an SPDX identifier."""
    notice: str = ""
    """Words that a copy must carry besides each item's credit; "" where there are none."""


_NOTHING = "nothing; naming the source is good practice"
_NAME = "name the author as credited, link the licence, say what was changed"
_ALIKE = f"{_NAME}; pass an adaptation on under the same licence"
_NO_SALE = f"{_NAME}; no commercial use"
_KEEP = "keep the copyright notice and the licence's text"
_SOURCE = "name the source as credited"


def _creative_commons() -> list[Licence]:
    kinds = {
        "by": (True, _NAME), "by-sa": (True, _ALIKE), "by-nc": (False, _NO_SALE),
        "by-nc-sa": (False, f"{_ALIKE}; no commercial use"), "by-nd": (False, f"{_NAME}; no adaptation"),
        "by-nc-nd": (False, f"{_NAME}; no adaptation, no commercial use"),
    }  # fmt: skip
    return [
        Licence(
            f"CC-{kind.upper()}-{version}", f"https://creativecommons.org/licenses/{kind}/{version}/", is_open, asks
        )
        for kind, (is_open, asks) in kinds.items()
        for version in ("2.0", "2.5", "3.0", "4.0")
    ]


LICENCES: tuple[Licence, ...] = (
    Licence("CC0-1.0", "https://creativecommons.org/publicdomain/zero/1.0/", True, _NOTHING),
    Licence("Public domain", "https://creativecommons.org/publicdomain/mark/1.0/", True, _NOTHING, is_spdx=False),
    *_creative_commons(),
    Licence("PDDL-1.0", "https://opendatacommons.org/licenses/pddl/1-0/", True, _NOTHING),
    Licence("ODC-By-1.0", "https://opendatacommons.org/licenses/by/1-0/", True, _NAME),
    Licence("ODbL-1.0", "https://opendatacommons.org/licenses/odbl/1-0/", True, _ALIKE),
    Licence("CDLA-Permissive-1.0", "https://cdla.dev/permissive-1-0/", True, "pass the licence's text on"),
    Licence("CDLA-Permissive-2.0", "https://cdla.dev/permissive-2-0/", True, "pass the licence's text on"),
    Licence("etalab-2.0", "https://www.etalab.gouv.fr/licence-ouverte-open-licence/", True, _SOURCE),
    Licence(
        "OGL-UK-3.0", "https://www.nationalarchives.gov.uk/doc/open-government-licence/version/3/", True, _SOURCE
    ),
    Licence("DL-DE-BY-2.0", "https://www.govdata.de/dl-de/by-2-0", True, _SOURCE),
    Licence("DL-DE-ZERO-2.0", "https://www.govdata.de/dl-de/zero-2-0", True, _NOTHING),
    Licence("MIT", "https://spdx.org/licenses/MIT.html", True, _KEEP),
    Licence("BSD-2-Clause", "https://spdx.org/licenses/BSD-2-Clause.html", True, _KEEP),
    Licence("BSD-3-Clause", "https://spdx.org/licenses/BSD-3-Clause.html", True, _KEEP),
    Licence("Apache-2.0", "https://www.apache.org/licenses/LICENSE-2.0", True, _KEEP),
    # Regulation (EU) 1159/2013, articles 7 and 8: any lawful use; say whose data they are and that they were changed.
    Licence(
        "Copernicus Sentinel data terms (free, full and open)",
        "https://sentinels.copernicus.eu/documents/247904/690755/Sentinel_Data_Legal_Notice", True,
        "say 'contains modified Copernicus Sentinel data' with the year", is_spdx=False,
        notice="Contains modified Copernicus Sentinel data; the year is in each item's credit.",
    ),
    # Articles 4 (copy, distribute, adapt, combine) and 6 (the notice) of the licence for GLO-30 and GLO-90.
    Licence(
        "Copernicus DEM licence (free, worldwide)",
        "https://docs.sentinel-hub.com/api/latest/static/files/data/dem/resources/license/License-COPDEM-30.pdf", True,
        "carry the notice on heights that were adapted", is_spdx=False, notice=COPERNICUS_DEM_NOTICE,
    ),
    # Terms of their own of the orthophotos that `services.orthophotos` lists; the facts stand there.
    Licence("swisstopo OGD", "https://www.swisstopo.admin.ch/en/conditions-geodata", True, _SOURCE, is_spdx=False),
    Licence(
        "Estonian Land Board open data",
        "https://geoportaal.maaamet.ee/index.php?lang_id=2&page_id=618&plugin_act=litsents", True,
        f"{_SOURCE}, and its age", is_spdx=False,
    ),
    Licence(
        "free by law (Prawo geodezyjne i kartograficzne)", "https://www.geoportal.gov.pl/regulamin", True, _SOURCE,
        is_spdx=False,
    ),
)  # fmt: skip
"""All that are known."""


def find_licence(statement: str) -> Licence | None:
    """Returns the licence that a record states, by its identifier or by its address; None where it is not known.

    Case, and blanks, dashes and underscores between words, do not count; any other remark makes it unknown.
    """
    return _BY_NAME.get(_normalise(statement))


def allows(rule: str, statement: str) -> bool:
    """Returns whether what is stated to be under a licence may be in a corpus of this rule.

    Args:
        rule: one of `LICENCE_RULES`.
    """
    licence = find_licence(statement)
    return rule == ALL or (licence is not None and licence.is_open)


def markdown_table() -> str:
    """Returns the licences for people."""
    rows = [
        f"| [{one.id}]({one.url}) | {'yes' if one.is_open else 'no'} | {one.asks} |" for one in _shortened(LICENCES)
    ]
    return "\n".join(["| licence | `open-commercial` | asks to |", "| --- | --- | --- |", *rows])


def _shortened(licences: tuple[Licence, ...]) -> list[Licence]:
    """Of the versions of a Creative Commons licence the newest."""
    return [one for one in licences if not one.id.startswith("CC-") or one.id.endswith("4.0")]


def _normalise(statement: str) -> str:
    words = statement.strip().lower().replace("http://", "https://").rstrip("/")
    return "-".join(words.replace("-", " ").replace("_", " ").split())


_BY_NAME = {_normalise(name): one for one in LICENCES for name in (one.id, one.url)}
