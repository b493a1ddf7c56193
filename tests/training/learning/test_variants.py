"""The rows of the table: what they add up to, and that each trains."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.runs import SHARED
from tests.training.data.makers import make_keys, make_sample, write_corpus
from tests.training.test_fit import SMALL, losses, refuse, weights
from training import checkpoint as files
from training.api import open_run
from training.data.batch import LOCATION, VIEWS
from training.evaluate import main as evaluate
from training.fit import main
from training.inputs import InputError
from training.learning.config import FitOptions
from training.learning.objective import ROWS, Objective, weigh_pairs
from training.learning.variants import VARIANTS, list_variants, published_options
from training.losses import all_to_all
from training.robustness import main as robustness

B, D, SCALE = 12, 5, 9.0
NOT_NEAR = torch.zeros(0, 2, dtype=torch.int64)


def variant(name, **more):
    return FitOptions("x", variant=name, **{**published_options({"variant": name}), **more})


def make_rows(objective, *, missing=0.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    z_RBD = F.normalize(torch.randn(len(objective.rows), B, D, generator=generator, dtype=torch.float64), dim=-1)
    present_RB = torch.rand(len(objective.rows), B, generator=generator) >= missing
    if LOCATION in objective.rows:
        present_RB[objective.rows.index(LOCATION)] = True
    return z_RBD, present_RB


def loss_of(options, z_RBD, present_RB):
    return Objective(options)(z_RBD, present_RB, torch.tensor(SCALE, dtype=torch.float64), near_K2=NOT_NEAR)


def clip(a_ND, b_ND):
    """Both directions of the definition."""
    logits, right = SCALE * a_ND @ b_ND.T, torch.arange(len(a_ND))
    return (F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right)) / 2


def weight(options, first, second):
    return float(weigh_pairs(options)[ROWS.index(first), ROWS.index(second)])


def only(present_RB, rows, kept):
    return present_RB & torch.tensor([[row in kept] for row in rows])


def test_the_hub_with_one_view_is_clip():
    golden = SHARED / "golden"
    if not golden.is_dir():
        pytest.skip("../shared/data is not beside this checkout")
    arrays, entries = np.load(golden / "clip_loss.npz"), json.loads((golden / "clip_loss.json").read_text())["entries"]
    entry = next(e for e in entries if f"{e['key']}_a" in arrays)
    a_ND, b_ND = (torch.tensor(arrays[f"{entry['key']}_{side}"], dtype=torch.float64) for side in "ab")
    scale = torch.tensor(entry["logit_scale"], dtype=torch.float64)
    for name in ("imagebind", "cyclic", "satclip", "unigeoclip"):
        objective = Objective(variant(name))
        z_RND = torch.zeros(len(objective.rows), *a_ND.shape, dtype=torch.float64)
        z_RND[objective.rows.index("sentinel2")], z_RND[objective.rows.index(LOCATION)] = a_ND, b_ND
        there = only(torch.ones(z_RND.shape[:2], dtype=torch.bool), objective.rows, ("sentinel2", LOCATION))
        found = objective(z_RND, there, scale, near_K2=NOT_NEAR)
        assert found.item() == pytest.approx(entry["cliploss_float64"], rel=1e-14), name


def test_the_hub_is_the_mean_of_clip_over_views_each_among_its_own_places():
    options = variant("imagebind")
    z_RBD, present_RB = make_rows(Objective(options), missing=0.4)
    terms = [clip(z_RBD[m, here], z_RBD[-1, here]) for m, here in enumerate(present_RB[:-1])]
    torch.testing.assert_close(loss_of(options, z_RBD, present_RB), torch.stack(terms).mean())


def test_fused_is_the_cross_entropy_of_all_observations_among_all_locations():
    options = variant("fused_ntxent")
    z_RBD, present_RB = make_rows(Objective(options), missing=0.4)
    present_RB[0] = False
    present_RB[0, 3] = True  # a view with one observation counts too
    m_N, b_N = present_RB[:-1].nonzero().T
    expected = F.cross_entropy(SCALE * z_RBD[m_N, b_N] @ z_RBD[-1].T, b_N)
    torch.testing.assert_close(loss_of(options, z_RBD, present_RB), expected)


def test_fused_in_both_directions_ranks_observations_among_those_of_their_view():
    options = variant("fused_ntxent", directions="both")
    z_RBD, present_RB = make_rows(Objective(options), missing=0.4)
    m_N, b_N = present_RB[:-1].nonzero().T
    forth = F.cross_entropy(SCALE * z_RBD[m_N, b_N] @ z_RBD[-1].T, b_N, reduction="sum")
    back = sum(
        F.cross_entropy(SCALE * z_RBD[-1, here] @ z_RBD[m, here].T, torch.arange(int(here.sum())), reduction="sum")
        for m, here in enumerate(present_RB[:-1])
    )
    torch.testing.assert_close(loss_of(options, z_RBD, present_RB), (forth + back) / 2 / len(m_N))


def test_fused_with_one_view_is_one_direction_of_the_hub():
    fused, hub = variant("fused_ntxent"), variant("imagebind", directions="to_location")
    z_RBD, present_RB = make_rows(Objective(fused))
    present_RB = only(present_RB, Objective(fused).rows, ("text", LOCATION))
    expected = F.cross_entropy(SCALE * z_RBD[VIEWS.index("text")] @ z_RBD[-1].T, torch.arange(B))
    for options in (fused, hub):
        torch.testing.assert_close(loss_of(options, z_RBD, present_RB), expected)


def test_all_to_all_of_unpaired_places_is_the_hub_with_shared_negatives():
    """Where each place has one view and its location, no other pair has two anchors."""
    plain, hub = variant("unigeoclip", negatives="candidate"), variant("imagebind", negatives="candidate")
    z_RBD, present_RB = make_rows(Objective(hub))
    present_RB[:-1] = torch.arange(B) % 5 == torch.arange(5)[:, None]
    found = loss_of(plain, z_RBD, present_RB)
    torch.testing.assert_close(found, loss_of(hub, z_RBD, present_RB), rtol=0, atol=0)
    own = loss_of(replace(hub, negatives="pair"), z_RBD, present_RB)
    assert found > own, "the locations of other views' places are negatives more"


def test_gair_weighs_its_two_terms_the_same():
    options = variant("gair", queue=0)
    objective = Objective(options)
    z_RBD, present_RB = make_rows(objective)
    photo, location, spot = (z_RBD[objective.rows.index(row)] for row in ("street", LOCATION, "spot_street"))
    expected = (clip(photo, spot) + F.cross_entropy(SCALE * photo @ location.T, torch.arange(B))) / 2
    torch.testing.assert_close(loss_of(options, z_RBD, present_RB), expected)
    assert set(objective.rows) == {"street", LOCATION, "spot_street"}


def test_csp_has_its_three_terms():
    options = variant("csp")
    objective = Objective(options)
    z_RBD, present_RB = make_rows(objective)
    image, location, twin = (z_RBD[objective.rows.index(row)] for row in ("sentinel2", LOCATION, "twin"))
    simcse = F.cross_entropy(SCALE * location @ twin.T, torch.arange(B))
    expected = (2 * clip(image, location) + simcse) / 3
    torch.testing.assert_close(loss_of(options, z_RBD, present_RB), expected)


def test_the_default_contrasts_all_views_and_both_spots():
    options = variant("sameplace")
    assert options == FitOptions("x")
    assert Objective(options).rows == ROWS[:-1]
    assert all(weight(options, first, second) == (first != second) for first in VIEWS for second in VIEWS)
    assert weight(options, "spot_street", "street") == weight(options, LOCATION, "spot_street") == 1
    assert weight(options, "spot_text", LOCATION) == 0 and weight(options, "text", "spot_text") == 1


def test_one_direction_leaves_the_location_no_query():
    for name in ("geoclip", "fused_ntxent", "gair"):
        assert not weigh_pairs(variant(name))[ROWS.index(LOCATION)].any()
        assert weight(variant(name), "street", LOCATION) > 0


def test_every_row_is_told_in_the_help():
    lines = list_variants().splitlines()[1:]
    assert [line.split()[0] for line in lines] == list(VARIANTS)
    assert max(map(len, lines)) <= 140


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Places of `train` alone: no evaluation while training."""
    return write_corpus(tmp_path_factory.mktemp("variants") / "c", [make_sample(key) for key in make_keys(12)])


SHORT = ["--steps", "2", *SMALL, "--batch", "6", "--save_every", "1", "--ema", "0", "--mask_within_m", "0"]
RUNS = {
    **{name: () for name in VARIANTS if name not in ("sameplace", "imagebind", "cyclic")},
    "gair": ("--queue", "9"), "geoclip": ("--queue", "9"), "imagebind": ("--unpaired",),
    "cyclic": ("--unpaired", "--phase_steps", "1", "--hub", "frozen"),
}  # fmt: skip


@pytest.fixture(scope="module")
def runs(corpus, tmp_path_factory):
    """Each variant after two steps, with a checkpoint of either."""
    folder = tmp_path_factory.mktemp("runs")
    for name, more in RUNS.items():
        assert main([str(corpus), "--variant", name, "--output", str(folder / name), *SHORT, *more]) == 0
    return folder


@pytest.mark.parametrize("name", RUNS)
def test_every_variant_goes_on_as_if_nothing_had_been(name, corpus, runs, tmp_path):
    kept = tmp_path / "run"
    shutil.copytree(runs / name / "step_00000001", kept / "step_00000001")
    shutil.copy(runs / name / "log.jsonl", kept)
    assert main([str(corpus), "--variant", name, "--output", str(kept), *SHORT, *RUNS[name]]) == 0
    assert losses(kept) == losses(runs / name) and all(np.isfinite(list(losses(kept).values())))
    one, other = weights(kept), weights(runs / name)
    assert all(torch.equal(one[key], other[key]) for key in other)


def moved(run):
    """Towers whose weights the second step changed."""
    before, after = (files.read_tensors(run / f"step_0000000{step}", files.WEIGHTS) for step in (1, 2))
    return {key.split(".")[1] for key in after if key.startswith("towers") and not torch.equal(before[key], after[key])}


def test_phases_move_one_tower_in_turn_and_a_frozen_hub_only_in_the_first(runs):
    assert moved(runs / "cyclic") == {"aerial"}
    state = files.read_tensors(runs / "cyclic" / "step_00000001", files.OPTIMISER)
    assert {key.split(".")[1] for key in state if key.startswith("towers")} == {"sentinel2", LOCATION}


def test_the_temperature_of_gair_stands_still(runs):
    for name, is_fixed in (("gair", True), ("geoclip", False)):
        first, last = (files.read_tensors(runs / name / f"step_0000000{s}", files.WEIGHTS) for s in (1, 2))
        assert torch.equal(first["log_scale"], last["log_scale"]) == is_fixed


def test_a_run_has_the_towers_it_trained_and_names_no_other(runs, corpus, tmp_path):
    encoder = open_run(runs / "satclip")
    assert encoder.views == ("sentinel2", LOCATION)
    assert set(encoder.model.towers) == {"sentinel2", LOCATION}
    assert encoder.encode("sentinel2", []).shape == (0, encoder.model.dim)
    with pytest.raises(InputError, match="not trained on 'text': choose from sentinel2, location"):
        encoder.encode("text", ["a mill"])
    with pytest.raises(ValueError, match="Unknown view 'text'"):
        encoder.model.encode("text", torch.zeros(1, 1, dtype=torch.int64))


def test_an_evaluation_covers_what_was_trained(runs, corpus, tmp_path, capsys):
    options = ["--split", "train", "--gallery", "12", "--draws", "1", "--no_baseline", "--device", "cpu"]
    assert evaluate([str(runs / "satclip"), str(corpus), *options, "--json", str(tmp_path / "e.json")]) == 0
    assert "## train: 12 places (sentinel2 12, location 12)" in capsys.readouterr().out
    found = json.loads((tmp_path / "e.json").read_text())["splits"]["train"]
    pairs = {(pair["query"], pair["gallery"]) for pair in found["retrieval"]["random"]["pairs"]}
    assert pairs == {("sentinel2", LOCATION), (LOCATION, "sentinel2")}
    assert [row["query"] for row in found["geolocation"]] == ["sentinel2"]


def test_curves_of_robustness_cover_what_was_trained(runs, corpus, tmp_path, capsys):
    options = ["--split", "train", "--gallery", "12", "--draws", "1", "--seeds", "1", "--distances", "0,100"]
    assert robustness([str(runs / "satclip"), str(corpus), *options, "--missing", "0", "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert "sentinel2, finds the location" in printed and "aerial" not in printed and "dem" not in printed


def test_corpora_of_one_view_each_are_learnt_from_together(tmp_path):
    for number, view in enumerate(("sentinel2", "text", "street")):
        keys = make_keys(6, start=(6.0 + number, 49.61))
        write_corpus(tmp_path / "all" / view, [make_sample(key, views=(view,)) for key in keys])
    command = [str(tmp_path / "all"), "--output", str(tmp_path / "run"), *SHORT]
    assert main([*command, "--variant", "fused_ntxent", "--batch", "9"]) == 0
    state = files.read_tensors(files.find_checkpoint(tmp_path / "run"), files.OPTIMISER)
    learnt = {key.split(".")[1] for key in state if key.startswith("towers")}
    assert learnt == {"sentinel2", "text", "street", LOCATION}


def test_options_that_are_given_win_even_with_the_general_default(corpus, tmp_path):
    command = [str(corpus), "--variant", "geoclip", "--output", str(tmp_path / "run"), *SHORT, "--steps", "1"]
    assert main([*command, "--queue", "0", "--directions", "both"]) == 0
    options = files.read_state(files.find_checkpoint(tmp_path / "run")).options
    assert (options["queue"], options["directions"], options["negatives"]) == (0, "both", "candidate")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--unpaired"], "add --pairs hub"),
        (["--hub", "frozen"], "no phases"),
        (["--variant", "imagebind", "--phase_steps", "3"], "no phases"),
        (["--variant", "geoclip", "--negatives", "pair"], "--queue 0"),
        (["--queue", "-1"], "--queue -1 is below zero"),
    ],
)
def test_options_without_effect_are_refused(capsys, corpus, tmp_path, options, message):
    assert message in refuse(capsys, corpus, "--output", tmp_path / "run", *SMALL, *options)


def test_a_run_is_not_continued_as_another_variant(capsys, corpus, runs):
    said = refuse(capsys, corpus, "--output", runs / "satclip", *SHORT, "--variant", "geoclip")
    assert "--variant satclip -> geoclip" in said


def test_per_anchor_every_anchor_weighs_the_same():
    z_RBD, present_RB = make_rows(Objective(variant("unigeoclip")), missing=0.5)
    total = count = 0
    for i in range(len(z_RBD)):
        for j in range(len(z_RBD)):
            here = present_RB[i] & present_RB[j]
            if i != j and here.any():
                logits = SCALE * z_RBD[i, here] @ z_RBD[j, here].T
                total += F.cross_entropy(logits, torch.arange(len(logits)), reduction="sum")
                count += len(logits)
    torch.testing.assert_close(all_to_all(z_RBD, present_RB, SCALE, per="anchor"), total / count)
