import numpy as np
import pytest

from schemas.corpus import CorpusError
from tests.training.worlds import make_places
from training.data.batch import VIEWS
from training.evaluation.baseline import Described, _principal, describe_places, fit_baseline, fit_cca
from training.evaluation.features import hash_words
from training.evaluation.galleries import GalleryRule
from training.evaluation.retrieval import average, retrieve


def _centre(x):
    return x - x.mean(0)


def test_canonical_correlation_recovers_what_was_planted():
    rng = np.random.default_rng(0)
    n, planted = 40_000, np.array([0.9, 0.6, 0.3])
    shared, own = rng.normal(size=(n, 3)), rng.normal(size=(n, 3))
    x, y = (
        np.hstack([shared, rng.normal(size=(n, 2))]),
        np.hstack([planted * shared + np.sqrt(1 - planted**2) * own, rng.normal(size=(n, 1))]),
    )
    x, y = _centre(x @ rng.normal(size=(5, 5))), _centre(y @ rng.normal(size=(4, 4)))  # any linear mixture
    found = fit_cca(x, y, 1e-9)
    np.testing.assert_allclose(found.correlations_K, [*planted, 0], atol=0.015)
    a, b = x @ found.a_FK, y @ found.b_GK
    np.testing.assert_allclose(np.diag(np.corrcoef(a.T, b.T)[:4, 4:])[:3], planted, atol=0.015)
    np.testing.assert_allclose(a.std(0), found.correlations_K, rtol=1e-3, atol=1e-6)


def test_of_two_single_features_it_is_the_correlation():
    rng = np.random.default_rng(1)
    x, y = _centre(rng.normal(size=(50, 1))), _centre(rng.normal(size=(50, 1)))
    assert fit_cca(x, y, 0.0).correlations_K == pytest.approx(abs(np.corrcoef(x.T, y.T)[0, 1]))


def test_a_ridge_makes_constant_features_harmless():
    rng = np.random.default_rng(2)
    x = _centre(np.hstack([rng.normal(size=(50, 1)), np.zeros((50, 3))]))
    assert fit_cca(x, x, 0.1).correlations_K[0] == pytest.approx(1 / (1 + 0.1 / 4))


@pytest.mark.parametrize("shape", [(30, 12), (12, 30)])
def test_the_principal_directions_are_the_right_singular_vectors(shape):
    raw = np.random.default_rng(0).normal(size=shape)
    found, expected = _principal(raw, 5), np.linalg.svd(raw)[2][:5].T
    np.testing.assert_allclose(np.abs(found.T @ expected), np.eye(5), atol=1e-9)


def _described(n, seed, *, noise=0.1, start=0):
    """Places of which each view tells the same three hidden numbers linearly, texts by the frequency of words."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99)
    hidden = rng.normal(size=(n, 3))
    features = {view: hidden @ mixing.normal(size=(3, 6)) + noise * rng.normal(size=(n, 6)) for view in VIEWS[:4]}
    features["text"] = np.maximum(hidden @ mixing.normal(size=(3, 40)) + noise * rng.normal(size=(n, 40)), 0)
    features["location"] = np.stack([hidden[:, 0] * 5, hidden[:, 1] * 5], -1)
    present = rng.random((6, n)) < 0.9
    return Described([f"{start + i:015x}" for i in range(n)], features, present)


def test_the_baseline_finds_places_it_was_not_fitted_on():
    baseline = fit_baseline(_described(600, 1))
    held = _described(200, 2, start=1000)
    places = make_places(np.zeros((6, 200, 1)), held.present_MN)
    pairs = retrieve(places, GalleryRule("random", size=100), lambda q, g: baseline.sides(held, q, g))
    assert len(pairs) == 30 and baseline.places == 600
    assert average([p for p in pairs if not p.has_location]).recall_1 > 0.3
    assert average([p for p in pairs if p.has_location]).recall_1 > 0.03
    assert all(p.low_1 > p.chance_1 for p in pairs if not p.has_location)


def test_both_directions_share_one_space():
    baseline, held = fit_baseline(_described(100, 1)), _described(10, 2)
    a, b = baseline.sides(held, "dem", "text")
    d, c = baseline.sides(held, "text", "dem")
    np.testing.assert_array_equal(a, c)
    np.testing.assert_array_equal(b, d)
    np.testing.assert_allclose(np.linalg.norm(a, axis=1), 1, rtol=1e-5)


def test_a_pair_too_rare_to_be_fitted_ranks_in_the_middle():
    train = _described(100, 1)
    train.present_MN[VIEWS.index("text"), 5:] = False
    baseline, held = fit_baseline(train), _described(50, 2)
    places = make_places(np.zeros((6, 50, 1)))
    pairs = retrieve(places, GalleryRule("full"), lambda q, g: baseline.sides(held, q, g))
    assert {p.median_rank for p in pairs if "text" in (p.query, p.gallery)} == {25.5}
    assert all(p.median_rank < 20 for p in pairs if "text" not in (p.query, p.gallery) and not p.has_location)


def test_features_of_batches_stand_in_the_order_that_is_asked_for():
    from tests.training.evaluation.test_embedded import make_batch

    batches = [make_batch([key], np.ones((6, 1), bool), [[lon, 0.0]]) for key, lon in (("a", 10), ("b", 20))]
    for batch, text in zip(batches, ["mill weir", "harbour"], strict=True):
        batch.text_BL = hash_words([text])
    centres = {"a": (11.0, 1.0), "b": (21.0, 1.0)}
    turned = describe_places(batches, centres).in_order_of(["b", "a"])
    assert turned.keys == ["b", "a"]
    np.testing.assert_array_equal(turned.features["location"], [[21, 1], [11, 1]])
    assert (turned.features["text"] > 0).sum(1).tolist() == [1, 2]
    assert describe_places(batches, centres, most=1).keys == ["a"]
    with pytest.raises(CorpusError, match="1 places could be read for the model and not for the baseline, first c"):
        describe_places(batches, centres).in_order_of(["a", "c"])
    both = [make_batch(["a", "b"], np.ones((6, 2), bool), [[10.0, 0.0], [20.0, 0.0]])]
    both[0].text_BL = hash_words(["mill weir", "harbour"])
    cut = describe_places(both, centres, most=1)
    assert cut.keys == ["a"] and cut.present_MN.shape[1] == 1 and {len(f) for f in cut.features.values()} == {1}
