import numpy as np
import pytest

from geodata import cells
from geodata.grid import distance_m, pixel_position
from schemas.sample import encode_metadata
from tests.training.data.makers import make_keys, make_sample
from training.data.batch import GROUNDS, VIEWS
from training.data.draw import Luck, draw, find_near, jitter
from training.data.places import read_places
from training.sphere import EARTH_RADIUS_M

STREET, TEXT, SENTINEL2 = (VIEWS.index(view) for view in ("street", "text", "sentinel2"))
LUCK = Luck(seed=3, epoch=1)


def _places(samples):
    return read_places([encode_metadata(sample) for sample in samples])[0]


@pytest.fixture(scope="module")
def samples():
    keys = (
        make_keys(24)
        + make_keys(6, start=(12.0, 78.9))
        + make_keys(6, start=(179.99, -17.0))
        + make_keys(4, start=(30.0, 88.0))
    )
    views = [("sentinel2", "street", "text"), ("sentinel2", "text"), ("street", "text"), ("sentinel2", "street")]
    return [make_sample(key, views=views[n % 4], photos=1 + n % 3, seasons=1 + n % 2) for n, key in enumerate(keys)]


@pytest.fixture(scope="module")
def places(samples):
    return _places(samples)


def test_evaluation_takes_the_first_of_everything(samples, places):
    drawn = draw(places, np.arange(len(samples)), None)
    for row, sample in enumerate(samples):
        for number, view in enumerate(VIEWS[:-1]):
            first = sample.first(view)
            assert drawn.present_MB[number, row] == (first is not None)
            if first is not None:
                assert places.name_of(drawn.chosen_MB[number, row]) == (sample.key, first.member)
        own = sample.street or sample
        assert tuple(drawn.lonlat_B2[row]) == (own.lon, own.lat)
    assert drawn.present_MB[-1].all() and (drawn.crop_B == 0.5).all()


def test_photo_and_article_lie_in_the_patch_where_proj_says(samples, places):
    rows = np.arange(len(samples))[::-1]
    drawn = draw(places, rows, None)
    inside = 0
    for place, row in enumerate(rows):
        sample = samples[row]
        for spot, view in enumerate(("street", "text")):
            item = sample.first(view)
            if item is None or sample.sentinel2 is None:
                assert not drawn.inside_SB[spot, place]
                continue
            column, line = pixel_position(sample.sentinel2.grid, item.lon, item.lat)
            expected = np.array([column, line]) / 64 - 1
            assert drawn.inside_SB[spot, place] == (np.abs(expected) < 1).all()
            if drawn.inside_SB[spot, place]:
                inside += 1
                assert np.abs(drawn.spots_BS2[place, spot] - expected).max() < 1e-6
    assert inside >= 40


def test_the_centre_of_a_cell_lies_in_its_patches_where_proj_says(samples, places):
    drawn = draw(places, np.arange(len(samples)), Luck(0, 0))
    off = []
    for row, sample in enumerate(samples):
        for number, view in enumerate(GROUNDS):
            found = drawn.focus_BR2[row, number]
            if sample.first(view) is None:
                assert not found.any()
                continue
            expected = np.array(pixel_position(sample.first(view).grid, sample.lon, sample.lat)) / 64 - 1
            assert np.abs(found - expected).max() < 1e-6
            off.append(np.abs(found).max())
    assert len(off) >= 30 and max(off) > 0.5  # patches are shifted by up to 480 of 640 m


def test_the_centre_of_a_cell_is_the_middle_of_a_patch_in_a_crs_that_is_not_known():
    places = _places([make_sample(make_keys(1)[0], views=("sentinel2", "dem"))])
    places.epsg_K[0] = 3035
    drawn = draw(places, np.array([0]), None)
    assert not drawn.focus_BR2[0, 0].any() and drawn.focus_BR2[0, 1].any()


def test_a_spot_outside_its_patch_is_not_inside():
    sample = make_sample(make_keys(1)[0], views=("sentinel2", "street"))
    grid = sample.sentinel2.grid
    for share, is_inside in ((-0.01, False), (0.01, True), (0.99, True), (1.01, False)):
        places = _places([sample])
        from pyproj import Transformer

        lonlat = Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True).transform(
            grid.left + share * 1280, grid.top - 640
        )
        places.anchor_K2[1] = lonlat
        drawn = draw(places, np.array([0]), None)
        assert drawn.inside_SB[0, 0] == is_inside
        if is_inside:
            assert np.allclose(drawn.spots_BS2[0, 0], (2 * share - 1, 0), atol=1e-5)


def test_training_draws_each_photo_and_season_in_its_turn(samples, places):
    row = next(n for n, s in enumerate(samples) if sum(o.modality == "street" for o in s.observations) == 3)
    members, positions = set(), set()
    for epoch in range(40):
        drawn = draw(places, np.array([row]), Luck(0, epoch))
        members.add(places.name_of(drawn.chosen_MB[STREET, 0])[1])
        photo = next(o for o in samples[row].observations if o.member == places.name_of(drawn.chosen_MB[STREET, 0])[1])
        assert tuple(drawn.lonlat_B2[0]) == (photo.lon, photo.lat)
        positions.add(float(drawn.crop_B[0]))
    assert len(members) == 3 and len(positions) == 40


def test_a_place_is_drawn_alike_in_whatever_batch(samples, places):
    luck = Luck(seed=3, epoch=1, modality_dropout=0.4)
    whole = draw(places, np.arange(len(samples)), luck)
    part = draw(places, np.array([7, 3, 21]), luck)
    same = whole.cut(3, 4)
    assert (part.chosen_MB[:, 1] == same.chosen_MB[:, 0]).all() and (
        part.present_MB[:, 1] == same.present_MB[:, 0]
    ).all()
    assert (part.lonlat_B2[1] == same.lonlat_B2[0]).all() and part.crop_B[1] == same.crop_B[0]
    other = draw(places, np.arange(len(samples)), Luck(seed=4, epoch=1, modality_dropout=0.4))
    assert (other.present_MB != whole.present_MB).any() and (other.crop_B != whole.crop_B).all()


@pytest.fixture(scope="module")
def mixed():
    """Two hundred places with one, two or three views."""
    views = ("text", "street", "aerial")
    return _places(
        [make_sample(key, views=views[: 1 + n % 3], photo_px=(32, 32)) for n, key in enumerate(make_keys(200))]
    )


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_dropout_leaves_the_location_and_one_more(mixed, probability):
    all_views = draw(mixed, np.arange(200), LUCK).present_MB
    left = draw(mixed, np.arange(200), Luck(0, 0, modality_dropout=probability))
    assert not (left.present_MB & ~all_views).any()
    assert left.present_MB[-1].all() and (left.present_MB.sum(axis=0) >= 2).all()
    assert ((left.chosen_MB >= 0) == left.present_MB[:-1]).all()
    three = all_views.sum(axis=0) == 4
    mean = left.present_MB[:-1, three].sum(axis=0).mean()
    expected = {0.0: 3.0, 0.3: 3 * 0.7 + 0.3**3, 1.0: 1.0}[probability]
    assert abs(mean - expected) < 0.25


def test_views_that_are_not_asked_for_are_absent(places):
    drawn = draw(places, np.arange(len(places)), LUCK, ("sentinel2", "location"))
    assert not drawn.present_MB[1:-1].any() and (drawn.chosen_MB[1:] == -1).all()
    assert drawn.present_MB[-1].all() and not drawn.inside_SB.any()


@pytest.mark.parametrize("resolution", [5, 9, 10, 12])
def test_jitter_stays_in_the_cell_everywhere_on_earth(resolution):
    import h3.api.basic_int as h3

    rng = np.random.default_rng(resolution)
    lat = np.degrees(np.arcsin(rng.uniform(-1, 1, 3000)))
    found = {
        cells.cell_number(lon, lat, resolution) for lon, lat in zip(rng.uniform(-180, 180, 3000), lat, strict=True)
    }
    for pentagon in h3.get_pentagons(resolution):
        found |= set(h3.grid_disk(pentagon, 2))
    found |= {cells.cell_number(0.0, 90.0, resolution), cells.cell_number(180.0, -90.0, resolution)}
    cells_N = np.array(sorted(found), dtype=np.uint64)
    lonlat_N2 = cells.centres(cells_N)
    edge = np.stack([np.ones(len(cells_N)), rng.random(len(cells_N))], axis=-1)
    for luck_N2 in (edge, rng.random((len(cells_N), 2))):
        moved = jitter(lonlat_N2, cells_N, luck_N2)
        assert (np.abs(moved) <= (180, 90)).all()
        assert (cells.cells_at(moved, resolution) == cells_N).all()


def test_jitter_fills_its_circle_evenly():
    cell = np.full(4000, cells.to_cell(make_keys(1)[0]), dtype=np.uint64)
    centre = cells.centres(cell)
    moved = jitter(centre, cell, np.random.default_rng(0).random((4000, 2)))
    metres = np.array([distance_m(*centre[0], *point) for point in moved])
    assert 40 < metres.max() < 42.5
    assert abs((metres < metres.max() / np.sqrt(2)).mean() - 0.5) < 0.03
    assert np.abs((moved - centre).mean(axis=0)).max() < 2e-5


def test_places_with_a_photo_and_in_evaluation_do_not_jitter(samples, places):
    still = draw(places, np.arange(len(samples)), Luck(0, 0, jitter=False)).lonlat_B2
    moved = draw(places, np.arange(len(samples)), Luck(0, 0)).lonlat_B2
    with_photo = np.array([sample.street is not None for sample in samples])
    assert (still == moved)[with_photo].all() and (still != moved).any(axis=1)[~with_photo].all()
    assert (still[~with_photo] == places.lonlat_N2[~with_photo]).all()


@pytest.mark.parametrize("within_m", [50.0, 3e3, 2e6, 1.2e7, 3e7])
def test_near_pairs_are_those_of_the_full_matrix(within_m):
    rng = np.random.default_rng(int(within_m))
    lonlat = np.concatenate([
        rng.uniform((-180, -90), (180, 90), (60, 2)), rng.uniform((5, 49), (5.1, 49.1), (60, 2)),
        rng.uniform((5, 49), (5.001, 49.001), (20, 2)), [[179.999, 0], [-179.999, 0], [0, 90], [120, 90], [0, -90]],
    ])  # fmt: skip
    lon, lat = np.radians(lonlat).T
    haversine = (
        np.sin((lat[:, None] - lat) / 2) ** 2
        + np.cos(lat[:, None]) * np.cos(lat) * np.sin((lon[:, None] - lon) / 2) ** 2
    )
    distance = 2 * EARTH_RADIUS_M * np.arcsin(np.sqrt(haversine.clip(0, 1)))
    expected = np.argwhere((distance < within_m) & ~np.eye(len(lonlat), dtype=bool))
    found = find_near(lonlat, within_m)
    assert found.dtype == np.int64 and (found == expected).all() and len(found) > 0


def test_nothing_is_near_within_nothing():
    assert find_near(np.zeros((5, 2)), 0.0).shape == (0, 2)
    assert find_near(np.zeros((1, 2)), 10.0).shape == (0, 2)


def test_unpaired_a_place_shows_one_view_and_the_same_in_every_epoch(samples, places):
    rows = np.arange(len(samples))
    drawn = [draw(places, rows, Luck(seed=3, epoch=epoch, unpaired=VIEWS)) for epoch in (0, 7)]
    assert (drawn[0].present_MB == drawn[1].present_MB).all()
    assert (drawn[0].present_MB[:-1].sum(axis=0) == 1).all() and drawn[0].present_MB[-1].all()
    assert not (drawn[0].present_MB & ~draw(places, rows, None).present_MB).any()
    assert (drawn[0].present_MB[[STREET, TEXT, SENTINEL2]].sum(axis=1) > 5).all(), "each view has its places"
    assert not drawn[0].inside_SB.any()
    other = draw(places, rows, Luck(seed=4, epoch=0, unpaired=VIEWS))
    assert (other.present_MB != drawn[0].present_MB).any()


def test_unpaired_views_may_be_looked_at_in_turn(samples, places):
    rows, luck = np.arange(len(samples)), Luck(seed=3, epoch=0, unpaired=VIEWS)
    whole = draw(places, rows, luck).present_MB
    one = draw(places, rows, luck, ("text", "location")).present_MB
    assert (one[TEXT] == whole[TEXT]).all() and not one[[STREET, SENTINEL2]].any()
