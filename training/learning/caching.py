"""A contrast over more samples than fit into memory: exact gradient caching (GradCache, arXiv 2101.06983).

The pieces of a batch are encoded without a graph, the loss is taken once over all embeddings, and each piece is
encoded again, with the same random numbers, to pass the gradients of its embeddings on. What lies outside the
encoders, as the temperature does, gets its gradient once, from the one loss.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

Piece = TypeVar("Piece")


def cached_backward(
    encode: Callable[[Piece], Sequence[Tensor]],
    pieces: Sequence[Piece],
    loss_of: Callable[..., Tensor],
    *,
    dims: Sequence[int],
) -> Tensor:
    """Adds the gradients of a whole batch's loss to all parameters, with the graph of one piece at a time.

    Equal to `loss_of(*encode(whole)).backward()` as long as an embedding depends on its own row, the parameters and
    torch's random numbers alone: no batch norm, no other generator. The last piece is encoded once only. To be called
    outside autocast, which `encode` may enter. `loss_of` may gather from other processes; gradients of parameters are
    not reduced here: `training.learning.distributed.reduce_gradients` does that once, afterwards.

    Args:
        encode: returns the embeddings of a piece, and what else the loss takes, as tensors. Integers and booleans get
            no gradient.
        pieces: at least one.
        loss_of: takes what `encode` returns, joined over the pieces; returns a scalar.
        dims: for each tensor the dimension along which pieces are joined: 1 for z_MBD.

    Returns:
        The loss, without its graph.
    """
    states, earlier = [], []
    with torch.no_grad():
        for piece in pieces[:-1]:
            states.append(_random_state())
            earlier.append(encode(piece))
    torch.clear_autocast_cache()  # an outer autocast would reuse casts of weights that were made without a graph
    last = encode(pieces[-1])
    parts = [[part.detach() for part in column] for column in zip(*earlier, last, strict=True)]
    whole = [torch.cat(p, dim).requires_grad_(p[0].is_floating_point()) for p, dim in zip(parts, dims, strict=True)]
    loss = loss_of(*whole)
    torch.autograd.backward(loss)
    slopes = [_cut(tensor.grad, p, dim) for tensor, p, dim in zip(whole, parts, dims, strict=True)]
    _pass_on(last, [slope.pop() for slope in slopes])
    del last  # its graph
    after = _random_state()
    for number, (piece, state) in enumerate(zip(pieces[:-1], states, strict=True)):
        _set_random_state(state)
        _pass_on(encode(piece), [slope[number] for slope in slopes])
    _set_random_state(after)
    return loss.detach()


def _cut(slope: Tensor | None, parts: list[Tensor], dim: int) -> list[Tensor | None]:
    """Returns each piece's part of a gradient."""
    if slope is None:
        return [None] * len(parts)
    return list(torch.split(slope, [part.shape[dim] for part in parts], dim))


def _pass_on(embeddings: Sequence[Tensor], slopes: Sequence[Tensor | None]) -> None:
    """Goes backward from embeddings whose gradients are known; frozen encoders have no graph."""
    known = [(e, s) for e, s in zip(embeddings, slopes, strict=True) if s is not None and e.requires_grad]
    if known:
        torch.autograd.backward([embedding for embedding, _ in known], [slope for _, slope in known])


def _random_state() -> tuple[Tensor, Tensor | None]:
    """Returns the state of torch's generators, on the CPU and on the current GPU."""
    return torch.get_rng_state(), torch.cuda.get_rng_state() if torch.cuda.is_available() else None


def _set_random_state(state: tuple[Tensor, Tensor | None]) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1])
