"""Backbones of Hugging Face through transformers, an extra: `hf:NAME` or `hf:NAME@REVISION`, NAME also a folder.

Only safetensors are read and no code of a repository is run. Without a network, HF_HUB_OFFLINE=1 reads what was
fetched before. Images are taken whole and scaled to the size the model was made for.
"""

import json
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.towers import TowerError
from training.towers.text import pad_tokens, pool_mean

_LENGTH = 128
_HALF = (0.5, 0.5, 0.5)


class HfPictureTower(nn.Module):
    """Pictures through a pretrained image encoder; only the head learns unless it is tuned.

    Of a model of two towers (CLIP, SigLIP) the pooled output is taken, of any other the mean of its last tokens.
    """

    def __init__(self, spec: str, dim: int, *, tune: bool = False) -> None:
        super().__init__()
        self.tune = tune
        self.body, self.is_pooled = _load(spec, "vision_model")
        _choose_learning(self.body, tune, self.is_pooled)
        size = getattr(self.body.config, "image_size", 224)
        self.size_px = int(size if isinstance(size, int) else size[0])
        mean, std = _read_colours(spec)
        self.mean_C: Tensor
        self.std_C: Tensor
        self.register_buffer("mean_C", 255 * torch.tensor(mean), persistent=False)
        self.register_buffer("std_C", 255 * torch.tensor(std), persistent=False)
        self.head = nn.Linear(self.body.config.hidden_size, dim, bias=False)

    def forward(self, stored_BHWC: Tensor) -> tuple[Tensor, None]:
        """Returns (B, dim), not normalised, for uint8 (B, H, W, 3); and no map."""
        pixels_BCHW = ((stored_BHWC.float() - self.mean_C) / self.std_C).permute(0, 3, 1, 2)
        if pixels_BCHW.shape[-1] != self.size_px:
            size = (self.size_px, self.size_px)
            pixels_BCHW = F.interpolate(pixels_BCHW, size, mode="bilinear", antialias=True)
        with torch.set_grad_enabled(self.tune and torch.is_grad_enabled()):
            out = self.body(pixel_values=pixels_BCHW)
            pooled_BD = out.pooler_output if self.is_pooled else out.last_hidden_state.mean(1)
        return self.head(pooled_BD), None

    def train(self, mode: bool = True) -> Self:
        """Switches dropout; a frozen body never drops anything."""
        super().train(mode)
        self.body.train(mode and self.tune)
        return self

    def flops(self) -> int:
        """Returns two operations for every weight and patch, an estimate without attention."""
        tokens = (self.size_px // getattr(self.body.config, "patch_size", 16)) ** 2
        return int(2 * tokens * sum(p.numel() for p in self.body.parameters()))


class HfTextTower(nn.Module):
    """Texts through a pretrained text encoder; only the head learns unless it is tuned.

    Of a model of two towers (CLIP, SigLIP) the pooled output at full length is taken, as it was trained; of any other
    the mean of its last tokens.
    """

    def __init__(self, spec: str, dim: int, *, tune: bool = False) -> None:
        super().__init__()
        self.tune = tune
        self.body, self.is_pooled = _load(spec, "text_model")
        _choose_learning(self.body, tune, self.is_pooled)
        self.tokenizer = _open_tokenizer(spec)
        self.length = min(_LENGTH, getattr(self.body.config, "max_position_embeddings", _LENGTH))
        self.padding = self.tokenizer.pad_token_id or 0
        self.head = nn.Linear(self.body.config.hidden_size, dim, bias=False)

    def tokenize(self, texts: list[str]) -> Tensor:
        """Returns int64 (N, L): the model's own ids plus 1, 0 = padding."""
        ids = self.tokenizer(list(texts), truncation=True, max_length=self.length)["input_ids"]
        return pad_tokens([[number + 1 for number in row] for row in ids], self.length)

    def forward(self, tokens_BL: Tensor) -> tuple[Tensor, None]:
        """Returns (B, dim), not normalised, for tokens of `tokenize`; and no map."""
        mask_BL = tokens_BL != 0
        ids_BL = torch.where(mask_BL, tokens_BL - 1, self.padding)
        with torch.set_grad_enabled(self.tune and torch.is_grad_enabled()):
            if self.is_pooled:
                pooled_BD = self.body(input_ids=ids_BL).pooler_output
            else:
                hidden_BLD = self.body(input_ids=ids_BL, attention_mask=mask_BL.long()).last_hidden_state
                pooled_BD = pool_mean(hidden_BLD, mask_BL)
        return self.head(pooled_BD), None

    def train(self, mode: bool = True) -> Self:
        """Switches dropout; a frozen body never drops anything."""
        super().train(mode)
        self.body.train(mode and self.tune)
        return self

    def flops(self) -> int:
        """Returns two operations for every weight outside the table of words and token, an estimate."""
        words = int(self.body.get_input_embeddings().weight.numel())
        return int(2 * self.length * (sum(p.numel() for p in self.body.parameters()) - words))


def _load(spec: str, part: str) -> tuple[Any, bool]:
    """Returns the encoder, and whether it is one of two towers."""
    transformers = _import_transformers(spec)
    name, revision = _parse(spec)
    try:
        model = transformers.AutoModel.from_pretrained(
            name, revision=revision, use_safetensors=True, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise TowerError(f"Cannot load {spec}: {reason} Check the name, the network, HF_HUB_OFFLINE.") from error
    is_pooled = hasattr(model, part)
    return (getattr(model, part) if is_pooled else model).float(), is_pooled


def _open_tokenizer(spec: str) -> Any:
    transformers = _import_transformers(spec)
    name, revision = _parse(spec)
    try:
        return transformers.AutoTokenizer.from_pretrained(name, revision=revision, trust_remote_code=False)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise TowerError(f"Cannot load the tokenizer of {spec}: {reason}") from error


def _read_colours(spec: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns mean and deviation of the colours, 0 ... 1, that the model was trained with; 0.5 where it says none."""
    from transformers.utils.hub import cached_file

    name, revision = _parse(spec)
    path = cached_file(name, "preprocessor_config.json", revision=revision, _raise_exceptions_for_missing_entries=False)
    said = json.loads(Path(path).read_text()) if path else {}
    return tuple(said.get("image_mean", _HALF)), tuple(said.get("image_std", _HALF))


def _choose_learning(body: nn.Module, tune: bool, is_pooled: bool) -> None:
    body.requires_grad_(tune)
    unused = getattr(body, "pooler", None)
    if isinstance(unused, nn.Module) and not is_pooled:
        unused.requires_grad_(False)


def _parse(spec: str) -> tuple[str, str | None]:
    name, _, revision = spec.removeprefix("hf:").partition("@")
    return name, revision or None


def _import_transformers(spec: str) -> Any:
    try:
        import transformers
    except ModuleNotFoundError as error:
        raise TowerError(f"{spec} needs pip install 'sameplace[hf]'; or use a tower made from scratch.") from error
    return transformers
