"""Several processes as one: one gather of all embeddings, exact gradients, one sum of those of the parameters.

Each process encodes its own rows and takes the loss of its own anchors (`all_to_all` with `rows=own_rows(B)`). These
losses add up to that of the whole batch; so do the gradients of parameters, which are summed once a step, when they
are complete. That is not left to DistributedDataParallel: the temperature has its gradient before the encoders run, a
tower has none where no row of its view is present, and gradient caching goes backward in pieces; its hooks expect the
opposite of each.

All functions work in a lone process too, where there is nothing to do.
"""

import os
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist
from torch.autograd.function import once_differentiable

from training.hardware import find_device
from training.options import OptionError

_BUCKET = 2**24
"""Numbers that are summed in one message, about."""


def start(device: str = "auto") -> torch.device:
    """Joins the processes that torchrun started, if there are any, and returns the device of this one.

    Args:
        device: cpu, cuda, or auto: cuda if there is a GPU. Processes talk through NCCL on GPUs and Gloo on CPUs.

    Raises:
        OptionError: if there is no such device.
    """
    chosen = find_device(device)
    if chosen.type == "cuda":
        chosen = find_device(f"cuda:{os.environ.get('LOCAL_RANK', chosen.index or 0)}")
        torch.cuda.set_device(chosen)
    if "WORLD_SIZE" in os.environ and not dist.is_initialized():
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    return chosen


def stop() -> None:
    """Leaves the other processes."""
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    """Returns the number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    """Returns how many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main() -> bool:
    """Says whether this is the process that writes and prints."""
    return rank() == 0


def own_rows(places: int) -> tuple[int, int] | None:
    """Returns which rows of the gathered batch are this process's, each having as many; None for a lone process."""
    return (rank() * places, (rank() + 1) * places) if world() > 1 else None


def gather(z_MBD: Tensor, present_MB: Tensor) -> tuple[Tensor, Tensor]:
    """Returns embeddings and presence of all processes, (M, world B, D) and (M, world B), in a single message.

    Gradients of the gathered embeddings are summed over processes and handed to the rows they belong to. All processes
    give the same shapes; stack everything with D columns into one call.
    """
    if world() == 1:
        return z_MBD, present_MB
    gathered: tuple[Tensor, Tensor] = _Gather.apply(z_MBD, present_MB)
    return gathered


def total(value: Tensor) -> Tensor:
    """Returns the sum of a number over processes, without gradient."""
    value = value.detach().clone()
    if world() > 1:
        dist.all_reduce(value)
    return value


def count(number: int, device: torch.device) -> int:
    """Returns the sum of a whole number over processes."""
    return int(total(torch.tensor(number, device=device))) if world() > 1 else number


def any_of(flag: bool, device: torch.device) -> bool:
    """Says whether it is true in any process."""
    return count(int(flag), device) > 0


def agree(number: int, device: torch.device) -> bool:
    """Says whether all processes have the same whole number, 0 ... 2^62."""
    if world() == 1:
        return True
    ends_2 = torch.tensor([number, -number], device=device)
    dist.all_reduce(ends_2, dist.ReduceOp.MAX)
    return bool(ends_2[0] == -ends_2[1])


def check_batch(places: int) -> None:
    """Raises OptionError unless the processes can share a batch equally."""
    if places % world():
        more = places + -places % world()
        raise OptionError(f"--batch {places} cannot be shared by {world()} processes equally: take {more}.")


def reduce_gradients(parameters: Iterable[Tensor]) -> None:
    """Sums gradients over processes; where some have none they count as 0, and where all have none it stays so."""
    if world() == 1:
        return
    learning = [p for p in parameters if p.requires_grad]
    has_N = torch.tensor([p.grad is not None for p in learning], dtype=torch.int32, device=learning[0].device)
    dist.all_reduce(has_N, dist.ReduceOp.MAX)
    sums = []
    for bucket in _buckets(p for p, has in zip(learning, has_N.tolist(), strict=True) if has):
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in bucket])
        sums.append((bucket, flat, dist.all_reduce(flat, async_op=True)))
    for bucket, flat, work in sums:
        work.wait()
        for parameter, part in zip(bucket, torch.split(flat, [p.numel() for p in bucket]), strict=True):
            parameter.grad = part.view_as(parameter)


def _buckets(parameters: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Yields parameters of one type that together have about `_BUCKET` numbers."""
    bucket: list[Tensor] = []
    for parameter in parameters:
        if bucket and (bucket[0].dtype != parameter.dtype or sum(p.numel() for p in bucket) >= _BUCKET):
            yield bucket
            bucket = []
        bucket.append(parameter)
    if bucket:
        yield bucket


class _Gather(torch.autograd.Function):
    """Presence travels as one more column of the embeddings."""

    @staticmethod
    def forward(ctx: Any, z_MBD: Tensor, present_MB: Tensor) -> tuple[Tensor, Tensor]:
        packed_MBC = torch.cat([z_MBD, present_MB.to(z_MBD).unsqueeze(-1)], -1)
        all_WMBC = packed_MBC.new_empty(world(), *packed_MBC.shape)
        dist.all_gather_into_tensor(all_WMBC.flatten(0, 1), packed_MBC)
        all_MNC = all_WMBC.transpose(0, 1).flatten(1, 2)
        present_MN = all_MNC[..., -1] > 0
        ctx.mark_non_differentiable(present_MN)
        return all_MNC[..., :-1].contiguous(), present_MN

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dz_MND: Tensor, _: Tensor) -> tuple[Tensor, None]:
        dz_WMBD = dz_MND.reshape(len(dz_MND), world(), -1, dz_MND.shape[-1]).transpose(0, 1).contiguous()
        own_MBD = torch.empty_like(dz_WMBD[0])
        dist.reduce_scatter_tensor(own_MBD, dz_WMBD.flatten(0, 1))
        return own_MBD, None
