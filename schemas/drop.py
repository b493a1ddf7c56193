"""Why something is not in the corpus. Every drop is counted, written to `drops.parquet`, and never silent."""

from dataclasses import dataclass
from enum import StrEnum


class Stage(StrEnum):
    """Where in the way of the data the drop happened."""

    FIND = "find"
    """Before any cell was asked: the record itself, or the cell itself, cannot be used."""
    CHOOSE = "choose"
    """Among the candidates of a cell another one was taken."""
    READ = "read"
    """Pixels or bytes could not be had."""
    JUDGE = "judge"
    """Pixels or bytes were had and found wanting."""


class Reason(StrEnum):
    """The closed list of reasons."""

    BAD_COORDINATES = "bad_coordinates"
    IMPRECISE_LOCATION = "imprecise_location"
    OUTSIDE_REGION = "outside_region"
    SPLIT_BUFFER = "split_buffer"
    TOO_CLOSE = "too_close"
    NOT_SAMPLED = "not_sampled"
    NO_OBSERVATION = "no_observation"
    MISSING_FILE = "missing_file"
    UNREADABLE = "unreadable"
    NO_GEOREFERENCE = "no_georeference"
    WRONG_BANDS = "wrong_bands"
    UNKNOWN_MODALITY = "unknown_modality"
    DUPLICATE = "duplicate"
    STUB = "stub"
    DISAMBIGUATION = "disambiguation"
    NOT_CHOSEN = "not_chosen"
    NOT_NEEDED = "not_needed"
    NODATA = "nodata"
    CLOUD = "cloud"
    CONSTANT = "constant"
    TINY = "tiny"
    BLUR = "blur"
    PANORAMA = "panorama"
    MOVED = "moved"
    NO_SERVICE = "no_service"
    NO_SCENE = "no_scene"
    SERVICE = "service"
    DAYS_APART = "days_apart"
    OVERDUE = "overdue"
    REMOVED = "removed"
    LICENCE = "licence"


@dataclass(frozen=True, slots=True)
class Drop:
    """One dropped observation, record or cell."""

    key: str
    """H3 cell concerned, or "" for a record that has no usable position."""
    modality: str
    """Modality concerned, or "" where the whole cell was dropped."""
    stage: Stage
    """Where it happened."""
    reason: Reason
    """Why."""
    value: float | None = None
    """The measured value that decided, in the unit of its threshold; None where nothing was measured."""
    detail: str = ""
    """One sentence for a human."""
    source: str = ""
    """Name of the source."""
    item_id: str = ""
    """The source's identifier of the item; "" where no item was found."""
    retryable: bool = False
    """True where asking again later may succeed."""
    count: int = 1
    """Records that this row stands for: what a service offers by the thousand is counted, not listed."""
