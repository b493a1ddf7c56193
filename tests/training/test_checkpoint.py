import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from training import checkpoint as files
from training.checkpoint import CheckpointError, State
from training.learning.config import FitOptions
from training.learning.optimiser import make_optimisers


def make(run, step, value=1.0, keep=2):
    state = State(step, {"preset": "tiny"}, {"lr": 1.0}, {"places": 3, "keys_sha256": "x"}, {"recall": 0.5})
    return files.write_checkpoint(run, state, {files.WEIGHTS: {"w": torch.full((2, 2), value)}}, keep=keep)


def test_what_is_written_is_read(tmp_path):
    folder = make(tmp_path, 10)
    assert files.find_checkpoint(tmp_path) == folder == files.find_checkpoint(folder)
    assert files.read_state(folder) == State(
        10, {"preset": "tiny"}, {"lr": 1.0}, {"places": 3, "keys_sha256": "x"}, {"recall": 0.5}
    )
    assert torch.equal(files.read_tensors(folder, files.WEIGHTS)["w"], torch.ones(2, 2))


def test_only_the_newest_are_kept(tmp_path):
    for step in (1, 2, 30, 4):
        make(tmp_path, step, keep=3)
    assert [path.name for path in files.list_checkpoints(tmp_path)] == [
        "step_00000002",
        "step_00000004",
        "step_00000030",
    ]


def test_a_draft_left_by_a_killed_process_is_no_checkpoint(tmp_path):
    make(tmp_path, 1)
    draft = tmp_path / ".step_00000002.77"
    draft.mkdir()
    (draft / files.STATE).write_text("{}")
    assert files.find_checkpoint(tmp_path).name == "step_00000001"
    make(tmp_path, 3)
    assert not draft.exists()


@pytest.mark.parametrize("name", [files.WEIGHTS, files.STATE])
def test_a_tampered_checkpoint_is_refused(tmp_path, name):
    path = make(tmp_path, 1) / name
    content = bytearray(path.read_bytes())
    content[-3] ^= 1 if name == files.WEIGHTS else 0xFF
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"sha256|cannot be read"):
        files.read_state(path.parent)


def test_a_missing_file_is_named(tmp_path):
    folder = make(tmp_path, 1)
    (folder / files.WEIGHTS).unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors is missing"):
        files.read_state(folder)


@pytest.mark.parametrize(("version", "remedy"), [(99, "install a newer"), ("2", "install a newer"), (1, "train again")])
def test_another_format_is_refused(tmp_path, version, remedy):
    folder = make(tmp_path, 1)
    record = json.loads((folder / files.STATE).read_text())
    (folder / files.STATE).write_text(json.dumps({**record, "format_version": version}))
    with pytest.raises(CheckpointError, match=remedy):
        files.read_state(folder)


def test_a_pickle_is_never_read(tmp_path):
    folder = make(tmp_path, 1)
    torch.save({"w": torch.zeros(1)}, folder / files.WEIGHTS)
    with pytest.raises(CheckpointError, match="cannot be read"):
        files.read_tensors(folder, files.WEIGHTS)


def test_unknown_weights_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="Unknown weights 'EMA': choose from auto, ema, model"):
        files.load_model(tmp_path, weights="EMA")


def test_no_checkpoint_is_one_sentence(tmp_path):
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        files.find_checkpoint(tmp_path)


@pytest.mark.parametrize("other", [nn.Linear(2, 3), nn.Sequential(nn.Linear(2, 2))])
def test_weights_of_another_architecture_are_refused(tmp_path, other):
    save_file(nn.Linear(2, 2).state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match="another architecture"):
        files.fill(other, files.read_tensors(tmp_path, "w.safetensors"), tmp_path)


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_optimisers_go_on_as_if_never_stopped(name):
    def learn(model, optimisers, steps):
        for _ in range(steps):
            model.zero_grad()
            (model(torch.ones(1, 3)) ** 2).sum().backward()
            for optimiser in optimisers:
                optimiser.step()

    torch.manual_seed(0)
    model = nn.Linear(3, 3)
    options = FitOptions("shards", optimiser=name, lr=0.1)
    optimisers = make_optimisers(model, options)
    learn(model, optimisers, 3)
    twin = nn.Linear(3, 3)
    twin.load_state_dict(model.state_dict())
    others = make_optimisers(twin, options)
    packed = files.pack_optimisers(optimisers, {p: n for n, p in model.named_parameters()})
    files.unpack_optimisers(others, dict(twin.named_parameters()), {n: v.clone() for n, v in packed.items()})
    learn(model, optimisers, 3)
    learn(twin, others, 3)
    assert torch.equal(model.weight, twin.weight)
