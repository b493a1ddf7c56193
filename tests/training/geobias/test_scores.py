import geopandas
import numpy as np
import pytest
import torch

from training.geobias import GeoBiasError, Rule, scores
from training.geobias.background import Background, to_frames
from training.geobias.scores import find_neighbourhoods, score_neighbourhoods
from training.location.spherical import encode_xyz
from training.sphere import EARTH_RADIUS_M, distance_m

RADIUS = 0.01
RADIUS_KM = RADIUS * EARTH_RADIUS_M / 1000
NEAR = Rule(radius_km=100)


def to_xyz(lonlat_N2):
    return encode_xyz(torch.as_tensor(lonlat_N2))


@pytest.mark.parametrize("stage", range(15))
@pytest.mark.parametrize("convention", ["two_sided", "pdf"])
def test_equals_the_published_code_end_to_end(stages, stage, convention):
    size = int(stages[f"s{stage}_n"])
    xyz_N3 = to_xyz(np.degrees(stages[f"s{stage}_points"][:, ::-1]))
    centre_C3 = torch.nn.functional.normalize(xyz_N3[size : size + 7].mean(0, keepdim=True))  # the first ring's
    local_CN3 = to_frames(xyz_N3[None], centre_C3)
    background = Background.around(size, RADIUS, density=5, k=4)
    assert torch.allclose(background.local_Q3, local_CN3[0, size:], atol=1e-14)
    value_CP = torch.from_numpy(stages[f"s{stage}_values"])[None]
    found_2 = score_neighbourhoods(local_CN3[:, :size], value_CP, background, Rule(RADIUS_KM, convention=convention))[0]
    rows = stages["rows"]
    of = rows[(rows[:, 0] == stage) & (rows[:, 3] == (convention == "pdf"))]
    within = 0.1 if stage in (4, 11) else 1e-10  # there the published code's rounding takes background before its equal
    assert np.allclose(found_2, of[np.argsort(of[:, 2]), 8], rtol=0, atol=within, equal_nan=True)


@pytest.mark.parametrize("null", ["analytic", "permutation"])
def test_is_that_of_brute_force(null):
    lonlat_N2, value_N = draw_clusters(60, 5)
    table = scores(lonlat_N2, value_N, Rule(radius_km=60, neighbours=12, null=null))
    xyz_N3 = to_xyz(lonlat_N2)
    for centre in range(0, 60, 7):
        away_N = distance_m(lonlat_N2, lonlat_N2[centre])
        members = np.argsort(away_N, kind="stable")
        members = members[away_N[members] <= 60_000][:12]
        background = Background.around(len(members), Rule(60).radius, density=5, k=4)
        local_CP3 = to_frames(xyz_N3[members][None], xyz_N3[[centre]])
        every_N3 = torch.cat([local_CP3[0], background.local_Q3])
        away_NN = (every_N3[:, None] - every_N3).norm(dim=2).fill_diagonal_(torch.inf)
        assert table.neighbours[centre] == len(members)
        joined = background.join(local_CP3)[0]
        assert torch.allclose(away_NN.gather(1, joined), away_NN.topk(4, largest=False)[0], atol=1e-9)
        alone = score_neighbourhoods(
            local_CP3, torch.from_numpy(value_N)[members][None], background, Rule(60, null=null)
        )
        assert np.allclose(alone[0], [table.unmarked[centre], table.marked[centre]], rtol=1e-9, equal_nan=True)


@pytest.mark.parametrize("radius_km", [3.0, 300.0, 9000.0])
def test_neighbourhoods_are_all_places_in_reach_on_the_whole_globe(radius_km):
    rng = np.random.default_rng(0)
    lonlat_N2 = np.stack([rng.uniform(-180, 180, 150), np.degrees(np.arcsin(rng.uniform(-1, 1, 150)))], 1)
    lonlat_N2 = np.concatenate(
        [lonlat_N2, lonlat_N2[:30] + 0.01, [[180.0, 3.0], [-180.0, 3.0], [0.0, 90.0], [77.0, 90.0]]]
    )
    is_near_NN = distance_m(lonlat_N2[:, None], lonlat_N2) <= radius_km * 1000
    found = dict(find_neighbourhoods(to_xyz(lonlat_N2), Rule(radius_km).radius, 10**6))
    assert sorted(found) == list(range(len(lonlat_N2)))
    assert all(sorted(members) == np.nonzero(is_near_NN[i])[0].tolist() for i, members in found.items())


def test_a_place_belongs_to_its_own_neighbourhood_however_many_share_its_spot():
    found = dict(find_neighbourhoods(to_xyz(np.zeros((9, 2))), 0.01, 3))
    assert all(i in members and len(members) == 3 for i, members in found.items())


def test_clustered_places_score_far_above_even_ones():
    rng = np.random.default_rng(1)
    even_N2 = np.stack(np.meshgrid(np.linspace(9.2, 10.8, 8), np.linspace(49.2, 50.8, 8)), -1).reshape(-1, 2)
    clustered_N2 = [10.0, 50.0] + rng.normal(0, 0.05, (64, 2))
    clustered_N2[:16] += rng.uniform(-0.5, 0.5, (16, 2))
    even, clustered = (scores(x, np.ones(64), NEAR).unmarked_mean for x in (even_N2, clustered_N2))
    assert clustered > 10 * even


@pytest.mark.parametrize("null", ["analytic", "permutation"])
def test_one_sided_errors_score_above_mixed_ones(null):
    rng = np.random.default_rng(2)
    lonlat_N2 = np.stack([rng.uniform(9, 11, 120), rng.uniform(49, 51, 120)], 1)
    one_sided_N = np.where(lonlat_N2[:, 0] < 10, 1.0, -1.0)
    rule = Rule(radius_km=100, null=null)
    one_sided, mixed = (scores(lonlat_N2, x, rule).marked_mean for x in (one_sided_N, rng.permutation(one_sided_N)))
    assert one_sided > 3 * mixed


def test_turning_the_globe_changes_nothing():
    lonlat_N2, value_N = draw_clusters(200, 3)
    turn_33 = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    turn_33 *= np.linalg.det(turn_33)
    x, y, z = (to_xyz(lonlat_N2).numpy() @ turn_33).T
    turned_N2 = np.degrees(np.stack([np.arctan2(y, x), np.arcsin(z)], 1))
    shifted_N2 = lonlat_N2 + [170.0, 0.0]  # over the antimeridian
    one, other = scores(lonlat_N2, value_N, NEAR), scores(shifted_N2, value_N, NEAR)
    assert np.allclose(one.marked, other.marked, rtol=1e-6, equal_nan=True)
    assert np.allclose(one.unmarked, other.unmarked, rtol=1e-6, equal_nan=True)
    third = scores(turned_N2, value_N, NEAR)  # rings start elsewhere: the mean moves little
    assert np.isclose(third.unmarked_mean, one.unmarked_mean, rtol=0.05)
    assert np.array_equal(third.neighbours, one.neighbours)


def test_what_has_no_score_is_nan_and_counted():
    lonlat_N2 = np.array([[10.0, 50.0], [10.1, 50.0], [10.2, 50.1], [80.0, -30.0]])
    table = scores(lonlat_N2, [0, 0, 0, 1], NEAR)
    assert np.isnan(table.marked).all() and table.undefined == {"unmarked": 1, "marked": 4}
    assert np.isnan(table.marked_mean) and np.isfinite(table.unmarked_mean)
    assert scores(lonlat_N2, [0, 0, 0, 1], Rule(100, convention="two_sided")).undefined == {"unmarked": 0, "marked": 3}


def test_the_mean_weighs_scores_by_the_sizes_of_the_neighbourhoods():
    table = scores(*draw_clusters(80, 4), Rule(radius_km=60))
    is_N = ~np.isnan(table.marked)
    expected = (table.marked[is_N] * table.neighbours[is_N]).sum() / table.neighbours[is_N].sum()
    assert len(set(table.neighbours)) > 3 and np.isclose(table.marked_mean, expected, rtol=1e-12)


def test_takes_a_geodataframe_in_any_crs_and_gives_columns_back():
    lonlat_N2, value_N = draw_clusters(50, 2)
    frame = geopandas.GeoDataFrame({"hit": value_N}, geometry=geopandas.points_from_xy(*lonlat_N2.T), crs=4326)
    plain = scores(lonlat_N2, value_N, NEAR)
    assert np.array_equal(scores(frame, "hit", NEAR).marked, plain.marked, equal_nan=True)
    projected = frame.to_crs(3035).iloc[::-1]
    answered = projected.assign(**scores(projected, "hit", NEAR).columns())
    assert np.allclose(answered["unmarked"][::-1], plain.unmarked, rtol=1e-6)
    assert np.allclose(answered.sort_index()["marked"], plain.marked, rtol=1e-6, equal_nan=True)


@pytest.mark.parametrize(
    ("places", "values", "said"),
    [
        (np.zeros((3, 2)), [1, 2], "shape"),
        (np.full((1, 2), 95.0), [1], "lon, lat"),
        (np.zeros((2, 2)), [1, np.nan], "1 values are not finite"),
        (np.zeros((2, 2)), "hit", "no column 'hit'"),
    ],
)  # fmt: skip
def test_refuses_what_it_cannot_score(places, values, said):
    with pytest.raises(GeoBiasError, match=said):
        scores(places, values, NEAR)


@pytest.mark.parametrize("bad", [{"radius_km": 0}, {"convention": "cdf"}, {"null": "none"}, {"density": -1}, {"k": 0}])
def test_refuses_a_rule_that_cannot_be_followed(bad):
    with pytest.raises(GeoBiasError):
        Rule(**{"radius_km": 10, **bad})


def draw_clusters(count, seed):
    rng = np.random.default_rng(seed)
    centres = rng.uniform([0, 45], [10, 55], (5, 2))
    return centres[rng.integers(0, 5, count)] + rng.normal(0, 0.2, (count, 2)), np.where(
        rng.random(count) < 0.6, 1.0, -1.0
    )
