"""Two Gloo processes against one."""

import os
import subprocess
import sys

import pytest
import torch

from tests.runs import ROOT
from tests.training.learning.test_caching import Towers, _batch, _cut
from training.learning import distributed
from training.learning.caching import cached_backward
from training.losses import all_to_all

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


def _in_one_of_two():
    """What each of the processes that torchrun starts does."""
    device = distributed.start("cpu")
    assert (device.type, distributed.world(), distributed.is_main()) == ("cpu", 2, distributed.rank() == 0)
    values = torch.full((2,), float(distributed.rank()))
    assert distributed.mean(values).tolist() == [0.5, 0.5]
    distributed.share([values])
    assert values.tolist() == [0, 0]
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
