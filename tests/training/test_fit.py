import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch

from tests.training.data.makers import make_keys, make_sample, measure, write_corpus
from tests.training.untrained import make_corpus
from training import checkpoint as files
from training.checkpoint import load_model
from training.data.batch import VIEWS
from training.fit import Meter, main
from training.learning.config import FitOptions
from training.learning.learner import Report
from training.log import read_log

ROOT = Path(__file__).parents[2]
SMALL = [
    "--batch",
    "8",
    "--log_every",
    "1",
    "--device",
    "cpu",
    "--precision",
    "fp32",
    "--threads",
    "2",
    "--eval_every",
    "99",
]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("corpora") / "small", places=24, held_out=6)


@pytest.fixture(scope="module")
def straight(corpus, tmp_path_factory):
    """A run of six steps that nothing disturbed."""
    run = tmp_path_factory.mktemp("runs") / "straight"
    assert main([str(corpus), "--output", str(run), "--steps", "6", *SMALL]) == 0
    return run


def losses(run):
    return {row["step"]: row["loss"] for row in read_log(run) if "loss" in row}


def weights(run):
    return files.read_tensors(files.find_checkpoint(run), files.WEIGHTS)


def test_a_run_leaves_a_model_that_encodes(straight, corpus):
    assert sorted(losses(straight)) == [1, 2, 3, 4, 5, 6]
    model = load_model(straight)
    z_ND = model.encode("location", torch.tensor([[6.1, 49.6], [6.2, 49.7]], dtype=torch.float64))
    torch.testing.assert_close(z_ND.norm(dim=1), torch.ones(2))
    state = files.read_state(files.find_checkpoint(straight))
    assert state.step == 6 and state.corpus["places"] == 24 and state.options["preset"] == "tiny"


def test_a_run_that_goes_on_repeats_and_skips_nothing(straight, corpus, tmp_path):
    command = [str(corpus), "--output", str(tmp_path / "run"), "--steps", "6", *SMALL]
    assert main([*command, "--stop_after", "2"]) == 0
    assert main([*command, "--stop_after", "3"]) == 0
    assert main(command) == 0
    assert losses(tmp_path / "run") == losses(straight)
    one, other = weights(tmp_path / "run"), weights(straight)
    assert all(torch.equal(one[name], other[name]) for name in other)


def test_a_killed_run_goes_on_with_the_same_losses(straight, corpus, tmp_path):
    run = tmp_path / "run"
    command = [str(corpus), "--output", str(run), "--steps", "6", "--save_every", "2", *SMALL]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-m", "training.fit", *command], cwd=ROOT, env=environment, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None and not files.list_checkpoints(run):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (run / "log.jsonl").write_text((run / "log.jsonl").read_text() + '{"step": 5, "lo')  # cut off in the middle
    assert main(command) == 0
    assert losses(run) == losses(straight)


def test_a_run_that_is_asked_to_stop_writes_a_checkpoint(corpus, tmp_path):
    run = tmp_path / "run"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [str(corpus), "--output", str(run), "--steps", "5000", "--save_every", "5000", *SMALL]
    process = subprocess.Popen(
        [sys.executable, "-m", "training.fit", *command], cwd=ROOT, env=environment, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None and not losses(run):
        time.sleep(0.05)
    process.terminate()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said.decode()
    assert files.read_state(files.find_checkpoint(run)).step == max(losses(run))


def test_pieces_give_the_losses_of_the_whole_batch(corpus, tmp_path):
    same = [str(corpus), "--steps", "3", "--keep_patches", "1", "--keep_words", "1", *SMALL, "--output"]
    assert main([*same, str(tmp_path / "whole")]) == 0
    assert main([*same, str(tmp_path / "pieces"), "--micro_batch", "3"]) == 0
    found, wanted = losses(tmp_path / "pieces"), losses(tmp_path / "whole")
    assert all(found[step] == pytest.approx(wanted[step], rel=2e-3) for step in wanted)
    assert found[1] == pytest.approx(wanted[1], rel=1e-5)


def test_two_processes_give_the_losses_of_one(corpus, tmp_path):
    same = ["--modality_dropout", "0", "--keep_patches", "1", "--keep_words", "1", "--steps", "3", *SMALL]
    assert main([str(corpus), "--output", str(tmp_path / "one"), *same, "--plain_patches"]) == 0
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        "2",
        "-m",
        "training.fit",
    ]
    done = subprocess.run(
        [*command, str(corpus), "--output", str(tmp_path / "two"), *same, "--plain_patches"], cwd=ROOT, timeout=180,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found, wanted = losses(tmp_path / "two"), losses(tmp_path / "one")
    assert found.keys() == wanted.keys()
    assert all(found[step] == pytest.approx(wanted[step], rel=1e-3) for step in wanted)
    assert found[1] == pytest.approx(wanted[1], rel=1e-5)


def test_eight_places_are_learnt_by_heart(tmp_path):
    samples = [make_sample(key) for key in make_keys(8)]
    corpus = write_corpus(tmp_path / "eight", samples)
    command = [
        str(corpus),
        "--output",
        str(tmp_path / "run"),
        "--steps",
        "60",
        "--modality_dropout",
        "0",
        "--lr",
        "3e-3",
        "--keep_words",
        "1",
        *SMALL,
    ]
    once = ["--log_every", "30", "--stop_after", "30", "--mask_within_m", "0", "--plain_patches"]
    assert main([*command, *once]) == 0
    assert losses(tmp_path / "run")[30] < 0.3


def test_a_corpus_of_few_views_is_learnt_from(tmp_path):
    keys = make_keys(16)
    views = [("sentinel2", "dem"), ("street", "text"), ("aerial",), ("text",)]
    corpus = write_corpus(tmp_path / "few", [make_sample(key, views=views[n % 4]) for n, key in enumerate(keys)])
    assert main([str(corpus), "--output", str(tmp_path / "run"), "--steps", "2", *SMALL]) == 0
    assert all(torch.isfinite(torch.tensor(list(losses(tmp_path / "run").values()))))


def refuse(capsys, *command):
    assert main([str(part) for part in command]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert said[-1].startswith("error: ") and said[-1].endswith("."), said
    assert "Traceback" not in "".join(said)
    return said[-1]


def test_what_cannot_be_learnt_from_is_one_sentence(capsys, corpus, tmp_path):
    run = ["--output", tmp_path / "run", *SMALL]
    assert "no finished corpus" in refuse(capsys, tmp_path, *run)
    assert "256" in refuse(capsys, corpus, "--output", tmp_path / "run", "--device", "cpu")
    assert "GPU" in refuse(capsys, corpus, *run, "--device", "cuda")
    assert "--batch 1" in refuse(capsys, corpus, "--output", tmp_path / "run", "--batch", "1")
    newer = write_corpus(tmp_path / "newer", [make_sample(key) for key in make_keys(9)], format_version=99)
    assert "99" in refuse(capsys, newer, *run)
    assert "--preset 'large' is not known: choose from tiny, small, base" in refuse(
        capsys, corpus, *run, "--preset", "large"
    )
    assert "--finest_m 0.0 must be above 0" in refuse(capsys, corpus, *run, "--finest_m", "0")
    assert "--seed 20260101120000 must lie in 0" in refuse(capsys, corpus, *run, "--seed", "20260101120000")
    assert "Unknown text tower 'foo'" in refuse(capsys, corpus, *run, "--text", "foo")
    lonely = write_corpus(tmp_path / "lonely", [make_sample(key, views=()) for key in make_keys(9)])
    assert "two of the views" in refuse(capsys, lonely, *run)
    assert not (tmp_path / "run").exists()


def test_a_remote_corpus_is_learnt_from_and_gone_on_with(corpus, tmp_path):
    command = [f"pipe:cat {corpus}/{{}}", "--output", str(tmp_path / "run"), "--steps", "3", *SMALL]
    assert main([*command, "--stop_after", "1"]) == 0
    assert main(command) == 0
    assert sorted(losses(tmp_path / "run")) == [1, 2, 3]
    assert any("val_recall_1_views" in row for row in read_log(tmp_path / "run"))


def test_another_option_is_refused_with_the_difference(capsys, straight, corpus):
    before = {path: path.read_bytes() for path in straight.rglob("*") if path.is_file()}
    said = refuse(capsys, corpus, "--output", straight, "--steps", "6", *SMALL, "--lr", "0.5", "--pairs", "hub")
    assert "--lr 0.001 -> 0.5" in said and "--pairs all -> hub" in said
    assert "delete it" in refuse(capsys, corpus, "--output", straight, "--steps", "6", *SMALL, "--resume", "no")
    assert {path: path.read_bytes() for path in straight.rglob("*") if path.is_file()} == before


def test_another_corpus_is_refused(capsys, straight, tmp_path):
    other = make_corpus(tmp_path / "other", places=12)
    assert "another --output" in refuse(capsys, other, "--output", straight, "--steps", "6", *SMALL)


def test_a_tampered_checkpoint_is_refused(capsys, corpus, tmp_path):
    command = [corpus, "--output", tmp_path / "run", "--steps", "4", *SMALL]
    assert main([*map(str, command), "--stop_after", "1"]) == 0
    path = files.find_checkpoint(tmp_path / "run") / files.WEIGHTS
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)
    assert "sha256" in refuse(capsys, *command)
    with pytest.raises(files.CheckpointError, match="sha256"):
        load_model(tmp_path / "run")


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_what_was_saved(capsys, corpus, tmp_path):
    command = [
        corpus,
        "--output",
        tmp_path / "run",
        "--steps",
        "40",
        "--save_every",
        "1",
        "--keep",
        "50",
        *SMALL,
        "--clip",
        "0",
    ]
    said = refuse(capsys, *command, "--lr", "1e30", "--warmup", "0")
    assert "The loss of step" in said and "nan" in said and "begin another run (--output)" in said
    kept = weights(tmp_path / "run")
    assert files.list_checkpoints(tmp_path / "run") and kept


def test_a_dry_run_trains_nothing(capsys, corpus, tmp_path):
    assert main([str(corpus), "--output", str(tmp_path / "run"), *SMALL, "--dry_run"]) == 0
    assert "M parameters" in capsys.readouterr().out and not (tmp_path / "run").exists()


def test_the_names_of_the_options_are_kept():
    assert set(FitOptions("x").shaping()) == {
        "split", "steps", "epochs", "batch", "preset", "dim", "text", "aerial", "street", "tune", "location", "finest_m",
        "pairs", "include_self", "negatives", "mask_within_m", "predictor", "secl", "incl", "neighbours", "dropout", "keep_patches", "keep_words", "location_noise_m", "modality_dropout",
        "plain_patches", "lr", "pretrained_lr", "lr_of", "warmup", "weight_decay", "beta2", "clip", "ema", "seed",
        "precision", "variant", "unpaired", "directions", "queue", "hub", "phase_steps", "optimiser",
    }  # fmt: skip


def test_the_log_is_one_json_object_a_line(straight):
    rows = [json.loads(line) for line in (straight / "log.jsonl").read_text().splitlines()]
    assert {"step", "epoch", "loss", "lr", "scale", "gradient_norm", "samples_per_s", "mfu", "damaged"} <= set(rows[0])


def test_operations_are_counted_of_the_views_that_are_there(monkeypatch):
    monkeypatch.setattr(time, "perf_counter", iter([0.0, 2.0, 2.0]).__next__)
    meter = Meter(10, 4, {"aerial": 100, "location": 10}, peak=1000.0)
    present_MB = torch.zeros(len(VIEWS), 4, dtype=torch.bool)
    present_MB[VIEWS.index("aerial"), :1] = present_MB[VIEWS.index("location")] = present_MB[VIEWS.index("text")] = True
    meter.add(1, Report(torch.tensor(1.0), torch.tensor(1.0), 1e-3), present_MB)
    row = meter.read()
    assert row["mfu"] == 3 * (100 + 4 * 10) / 2.0 / 1000.0
    assert row["samples_per_s"] == 2.0


def test_the_open_sea_is_learnt_from(tmp_path):
    """Elevation is the same everywhere; its tower standardises each raster by itself."""
    flat = {"dem": {"pixels": [9], "mean": [0.0], "std": [0.0]}}
    samples = [make_sample(key, views=("aerial", "dem")) for key in make_keys(9)]
    bands = {name: values for name, values in measure(samples).summary().items() if name != "dem"}
    statistics = {"over": "train", "bands": bands | flat}
    corpus = write_corpus(tmp_path / "sea", samples, statistics=statistics)
    assert main([str(corpus), "--output", str(tmp_path / "run"), "--steps", "1", *SMALL]) == 0


def test_statistics_that_nothing_can_be_divided_by_are_one_sentence(capsys, tmp_path):
    samples = [make_sample(key, views=("aerial", "dem")) for key in make_keys(9)]
    bands = measure(samples).summary() | {"aerial": {"pixels": [9] * 3, "mean": [0.0] * 3, "std": [0.0] * 3}}
    corpus = write_corpus(tmp_path / "black", samples, statistics={"over": "train", "bands": bands})
    said = refuse(capsys, corpus, "--output", tmp_path / "run", *SMALL)
    assert "black: The statistics of aerial" in said


def test_a_place_of_val_that_lies_in_two_tars_leaves_training_unwatched(tmp_path, caplog):
    bare, made = tmp_path / "bare", write_corpus(tmp_path / "made", [make_sample(key) for key in make_keys(9)])
    held = write_corpus(tmp_path / "held", [make_sample(key, split="val") for key in make_keys(4, start=(7, 50))])
    for name, tar in (("a", made / "train/train-000000.tar"), *((n, held / "val/val-000000.tar") for n in ("b", "c"))):
        (bare / name).mkdir(parents=True)
        shutil.copy(tar, bare / name / "x.tar")
    command = [str(bare), "--output", str(tmp_path / "run"), "--steps", "1", *SMALL, "--batch", "4"]
    assert main(command) == 0
    assert "No evaluation while training: The place" in caplog.text and "keep one of them elsewhere" in caplog.text


@pytest.mark.parametrize(("name", "words"), [
    ("index.parquet", "No evaluation while training: The index.parquet"),
    ("val/val-000000.tar", "This time no evaluation: "),
])  # fmt: skip
def test_a_remote_val_that_cannot_be_read_leaves_training_unwatched(corpus, tmp_path, caplog, name, words):
    shutil.copytree(corpus, tmp_path / "one")
    remote = f"pipe:test -s {tmp_path}/one/{{}} && cat {tmp_path}/one/{{}}"
    command = [remote, "--output", str(tmp_path / "run"), "--steps", "2", *SMALL]
    assert main([*command, "--stop_after", "1"]) == 0
    if name == "index.parquet":
        table = pq.read_table(tmp_path / "one" / name)
        pq.write_table(table.filter(pc.equal(table["split"], "train")), tmp_path / "one" / name)
    else:
        (tmp_path / "one" / name).unlink()
    assert main(command) == 0
    assert words in caplog.text and sorted(losses(tmp_path / "run")) == [1, 2]
