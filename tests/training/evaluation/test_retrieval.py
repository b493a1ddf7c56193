from dataclasses import replace

import numpy as np
import pytest

from tests.training.worlds import make_places, noisy_places, unit
from training.data.batch import VIEWS
from training.evaluation.galleries import GalleryRule
from training.evaluation.retrieval import PAIRS, average, group, rank, retrieve, retrieve_spots, to_json, wilson

S2, AERIAL, TEXT = VIEWS.index("sentinel2"), VIEWS.index("aerial"), VIEWS.index("text")


def _find(pairs, query, gallery):
    (pair,) = [p for p in pairs if (p.query, p.gallery) == (query, gallery)]
    return pair


def test_ranks_of_a_case_by_hand():
    query = np.array([[1, 0]], np.float32)
    gallery = np.array([[1, 0], [0.6, 0.8], [0.8, 0.6], [0, 1]], np.float32)
    assert [rank(query, gallery, np.array([right]))[0] for right in range(4)] == [1, 3, 2, 4]


def test_ties_have_the_mean_of_their_ranks():
    query = np.array([[1, 0]] * 3, np.float32)
    gallery = np.array([[1, 0], [0.6, 0.8], [0.6, 0.8], [0.6, -0.8], [0, 1]], np.float32)
    assert rank(query, gallery, np.array([1, 3, 4])).tolist() == [3, 3, 5]


@pytest.mark.parametrize("size", [7, 64, 1031])
def test_a_collapsed_model_ranks_in_the_middle_wherever_the_answer_stands(size):
    z = unit(np.random.default_rng(0).normal(size=(1, 96))).repeat(size, 0)
    np.testing.assert_array_equal(rank(z, z, np.arange(size)), (size + 1) / 2)


def test_ranks_equal_a_plain_sort():
    rng = np.random.default_rng(3)
    query, gallery = unit(rng.normal(size=(1300, 8))), unit(rng.normal(size=(1300, 8)))
    order = np.argsort(-(query.astype(float) @ gallery.T.astype(float)), axis=1)
    plain = np.array([np.flatnonzero(row == i)[0] + 1 for i, row in enumerate(order)])
    found = rank(query, gallery, np.arange(1300))
    assert (found == plain).mean() > 0.99 and np.abs(found - plain).max() <= 1  # similarities nearer than TIE


def test_wilson_equals_published_values():
    # Newcombe, Statistics in Medicine 17 (1998), table I: 81/263, 15/148, 0/20, 1/29
    for hits, count, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert wilson(hits / count, count) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_all_thirty_pairs_are_measured_and_agreeing_views_find_each_other():
    pairs = retrieve(noisy_places(noise=0), GalleryRule("full"))
    assert [(p.query, p.gallery) for p in pairs] == list(PAIRS) and len(PAIRS) == 30
    assert all(p.recall_1 == p.mean_reciprocal_rank == p.median_rank == 1 for p in pairs)


def test_views_that_know_nothing_are_at_chance():
    z = np.random.default_rng(5).normal(size=(6, 400, 32))
    pairs = retrieve(make_places(z), GalleryRule("random", size=100, draws=4))
    np.testing.assert_allclose([(p.chance_1, p.chance_5, p.chance_10) for p in pairs], [(0.01, 0.05, 0.1)] * 30)
    mean = average(pairs)
    assert mean.recall_1 == pytest.approx(0.01, abs=0.004) and mean.median_rank == pytest.approx(50.5, abs=4)
    assert mean.above_chance <= 4


def test_views_that_are_absent_neither_search_nor_answer():
    present = np.ones((6, 10), bool)
    present[S2, :4] = False
    present[AERIAL, 8:] = False
    present[TEXT, 1:] = False
    pairs = retrieve(noisy_places(10, noise=0, present_MN=present), GalleryRule("full"))
    there, back = _find(pairs, "sentinel2", "aerial"), _find(pairs, "aerial", "sentinel2")
    assert (there.queries, there.gallery_size, there.chance_1) == (4, 8, 1 / 8)
    assert (back.queries, back.gallery_size, back.chance_1) == (4, 6, 1 / 6)
    assert there.recall_1 == back.recall_1 == 1
    assert not [p for p in pairs if "text" in (p.query, p.gallery)]
    fixed = _find(retrieve(noisy_places(10, noise=0, present_MN=present), GalleryRule("random")), "sentinel2", "aerial")
    assert (fixed.queries, fixed.gallery_size) == (4, 4)


def test_the_interval_counts_a_place_once_however_often_it_searched():
    places = noisy_places(30, noise=1.0)
    once, often = (retrieve(places, GalleryRule("random", size=29, draws=d)) for d in (1, 50))
    assert once[0].queries == 29 and often[0].queries == 30
    assert often[0].high_1 - often[0].low_1 > 0.2


def test_a_method_with_a_space_for_each_pair_is_asked_for_it():
    places, asked = noisy_places(), []

    def sides(query, other):
        asked.append((query, other))
        return places.z(query), places.z(query)

    pairs = retrieve(places, GalleryRule("full"), sides)
    assert asked == list(PAIRS) and all(p.recall_1 == 1 for p in pairs)


def test_groups_are_the_pairs_of_six_and_of_five_views():
    pairs = retrieve(noisy_places(), GalleryRule("full"))
    assert {name: len(members) for name, members in group(pairs).items()} == {
        "six views, without location": 20,
        "six views, with location": 10,
        "five views, without location": 12,
        "five views, with location": 8,
    }
    plain = to_json(pairs)
    assert plain["means"]["five views, with location"]["pairs"] == 8
    assert plain["pairs"][0]["query"] == "sentinel2"
    assert average([]) is None


def test_the_map_at_the_photo_is_searched_by_the_photo_and_searches_it():
    places = noisy_places(60, noise=0.8)
    blind = np.random.default_rng(1).normal(size=(60, 16)).astype(np.float32)
    spots = np.stack([places.z("street"), blind])  # the photo itself, and nothing of the article
    pairs = retrieve_spots(replace(places, spots_SND=spots), GalleryRule(size=40, draws=3))
    assert [(pair.query, pair.gallery) for pair in pairs] == [
        ("street", "spot_street"), ("spot_street", "street"), ("text", "spot_text"), ("spot_text", "text")
    ]  # fmt: skip
    assert [pair.recall_1 for pair in pairs[:2]] == [1, 1] and max(pair.recall_1 for pair in pairs[2:]) < 0.15
    assert {pair.gallery_size for pair in pairs} == {40}


def test_without_a_query_no_spot_is_searched():
    assert retrieve_spots(noisy_places(), GalleryRule()) == []


def test_an_answer_without_a_score_is_the_last():
    z_ND = np.eye(3, dtype=np.float32)
    query_ND = z_ND.copy()
    query_ND[1] = np.nan
    assert rank(query_ND, z_ND, np.arange(3)).tolist() == [1, 3, 1]
