"""Two Gloo processes against one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.runs import ROOT
from tests.training.learning.test_caching import Towers, _batch, _cut
from tests.training.places import make_batch
from training.checkpoint import CheckpointError, State, write_checkpoint
from training.learning import distributed
from training.learning.caching import cached_backward
from training.learning.negatives import mask_near
from training.learning.resume import check_shared
from training.losses import all_to_all
from training.model import Model, ModelConfig
from training.options import OptionError

NEAR = torch.tensor([[0, 9], [9, 0], [1, 2], [2, 1]])
OPTIONS = {"negatives": "candidate", "near_K2": NEAR, "tile": 4}


class Several(Towers):
    """Takes its loss over the rows of all processes."""

    def loss_of(self, z_MBD, present_MB):
        whole_z, whole_present = distributed.gather(z_MBD, present_MB)
        rows = distributed.own_rows(present_MB.shape[1])
        return all_to_all(whole_z, whole_present, self.log_scale.exp(), rows=rows, **OPTIONS)


def _step(is_cached):
    """One step on this process's part of the batch: the whole batch's loss and gradients."""
    model = Several()
    model.towers[1][0].weight.requires_grad_(False)
    model.idle = torch.nn.Parameter(torch.zeros(2))
    first, last = distributed.own_rows(12 // distributed.world()) or (0, 12)
    values_BMI, present_MB = _batch()
    batch = values_BMI[first:last], present_MB[:, first:last]
    if is_cached:
        loss = cached_backward(model.encode, _cut(batch, 2, (last - first) - 2), model.loss_of, dims=(1, 1))
    else:
        loss = model.loss_of(*model.encode(batch))
        loss.backward()
    distributed.reduce_gradients(model.parameters())
    return {
        "loss": distributed.total(loss),
        **{name: slope for name, slope in model.slopes().items() if slope is not None},
    }


def _find_checkpoints(folder, device):
    """The second process sees another disk than the first."""
    run = folder / f"disk{distributed.rank()}"
    state = State(step=1, model={}, options={}, corpus={}, metrics={})
    check_shared(run, None, device)
    previous = (write_checkpoint(run, state, {}, keep=1), state)
    check_shared(run, previous, device)
    with pytest.raises(CheckpointError, match="put --output on a disk that all machines share"):
        check_shared(run, previous if distributed.is_main() else None, device)


def _find_near():
    """Each process has a place beside one of the other's."""
    model = Model(ModelConfig())
    batch = make_batch(model, 2)
    batch.lonlat_B2 = torch.tensor(
        [[6.0 + 5 * distributed.rank(), 49.0], [8.0, 49.0 + 1e-4 * distributed.rank()]]
    ).double()
    assert mask_near(batch, 100.0).near_K2.tolist() == [[1, 3], [3, 1]]


def _in_one_of_two():
    """What each of the processes that torchrun starts does."""
    device = distributed.start("cpu")
    assert (device.type, distributed.world(), distributed.is_main()) == ("cpu", 2, distributed.rank() == 0)
    rank = distributed.rank()
    assert distributed.count(rank + 3, device) == 7
    assert distributed.any_of(rank == 1, device) and not distributed.any_of(False, device)
    assert distributed.agree(2**61, device) and not distributed.agree(rank, device)
    distributed.check_batch(8)
    with pytest.raises(OptionError, match="--batch 7 cannot be shared by 2 processes equally: take 8"):
        distributed.check_batch(7)
    _find_checkpoints(Path(sys.argv[1]), device)
    _find_near()
    results = {is_cached: _step(is_cached) for is_cached in (False, True)}
    torch.save(results, f"{sys.argv[1]}/{distributed.rank()}.pt")
    distributed.stop()


@pytest.fixture(scope="module")
def of_two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1"]
    command += [
        "--rdzv-backend",
        "c10d",
        "--rdzv-endpoint",
        "127.0.0.1:0",
        "-m",
        "tests.training.learning.test_distributed",
        folder,
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(
        list(map(str, command)), cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("is_cached", [False, True])
def test_two_processes_equal_one(of_two, is_cached):
    alone = _step(False)
    assert "log_scale" in alone and "idle" not in alone and "towers.1.0.weight" not in alone
    for result in of_two:
        assert result[is_cached].keys() == alone.keys()
        for name, value in alone.items():
            torch.testing.assert_close(result[is_cached][name], value, rtol=1e-5, atol=1e-7, msg=name)


def test_a_lone_process_needs_nothing():
    assert (distributed.world(), distributed.rank(), distributed.is_main()) == (1, 0, True)
    assert distributed.own_rows(5) is None
    z_MBD, present_MB = torch.zeros(2, 3, 4), torch.ones(2, 3, dtype=torch.bool)
    gathered = distributed.gather(z_MBD, present_MB)
    assert gathered[0] is z_MBD and gathered[1] is present_MB


def test_a_gpu_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="no GPU"):
        distributed.start("cuda")


def test_gradients_go_in_buckets_of_one_type(monkeypatch):
    monkeypatch.setattr(distributed, "_BUCKET", 10)
    parameters = [
        torch.zeros(n, dtype=t)
        for n, t in [(4, torch.float32), (7, torch.float32), (3, torch.float32), (1, torch.float64)]
    ]
    assert [[len(p) for p in bucket] for bucket in distributed._buckets(parameters)] == [[4, 7], [3], [1]]


if __name__ == "__main__":
    _in_one_of_two()
