import json
import sys

import pytest
import torch

from training.towers import TowerError, hf

transformers = pytest.importorskip("transformers", reason="pip install 'sameplace[hf]'")

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "village", "river", "##side"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Tiny models as a hub's snapshot would hold them."""
    folder = tmp_path_factory.mktemp("hf")
    picture = {"image_size": 32, "patch_size": 8}
    transformers.ViTModel(transformers.ViTConfig(**SIZES, **picture)).save_pretrained(folder / "vit")
    (folder / "vit" / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.4] * 3, "image_std": [0.2] * 3})
    )
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    tokenizer = transformers.BertTokenizerFast(vocab={word: row for row, word in enumerate(WORDS)})
    transformers.BertModel(transformers.BertConfig(**SIZES, vocab_size=len(WORDS))).save_pretrained(folder / "bert")
    tokenizer.save_pretrained(folder / "bert")
    text = {**SIZES, "vocab_size": len(WORDS), "max_position_embeddings": 16, "bos_token_id": 2, "eos_token_id": 3}
    siglip = transformers.SiglipConfig(text_config=text, vision_config={**SIZES, **picture})
    transformers.SiglipModel(siglip).save_pretrained(folder / "siglip")
    tokenizer.save_pretrained(folder / "siglip")
    return folder


@pytest.mark.parametrize("name", ["vit", "siglip"])
def test_pictures_of_any_size_are_embedded(saved, name):
    tower = hf.HfPictureTower(f"hf:{saved / name}", 16).eval()
    stored = torch.randint(0, 256, (3, 64, 64, 3)).to(torch.uint8)
    out_ND, no_map = tower(stored)
    assert tower.size_px == 32
    assert out_ND.shape == (3, 16)
    assert no_map is None
    assert torch.allclose(out_ND[1:], tower(stored[1:])[0], atol=1e-5)


def test_colours_are_those_of_the_model(saved):
    assert hf.HfPictureTower(f"hf:{saved / 'vit'}", 16).mean_C.tolist() == pytest.approx([102.0] * 3)
    assert hf.HfPictureTower(f"hf:{saved / 'siglip'}", 16).mean_C.tolist() == pytest.approx([127.5] * 3)


@pytest.mark.parametrize("name", ["bert", "siglip"])
def test_texts_are_embedded_row_by_row(saved, name):
    tower = hf.HfTextTower(f"hf:{saved / name}", 16).eval()
    tokens_NL = tower.tokenize(["a village", "a riverside village a river", ""])
    out_ND, _ = tower(tokens_NL)
    assert out_ND.shape == (3, 16)
    assert out_ND.isfinite().all()
    assert torch.allclose(out_ND[:1], tower(tokens_NL[:1])[0], atol=1e-5)
    assert not torch.allclose(out_ND[0], out_ND[1], atol=1e-3)


def test_padding_has_no_say(saved):
    tower = hf.HfTextTower(f"hf:{saved / 'bert'}", 16).eval()
    tokens_NL = tower.tokenize(["a village"])
    length = int((tokens_NL != 0).sum())
    assert torch.allclose(tower(tokens_NL)[0], tower(tokens_NL[:, :length])[0], atol=1e-5)


@pytest.mark.parametrize("tune", [False, True])
def test_a_frozen_body_neither_learns_nor_drops(saved, tune):
    tower = hf.HfTextTower(f"hf:{saved / 'bert'}", 16, tune=tune).train()
    tower(tower.tokenize(["a village"]))[0].sum().backward()
    learning = [parameter for parameter in tower.body.parameters() if parameter.requires_grad]
    assert bool(learning) == tune
    assert all(parameter.grad is not None for parameter in learning)
    assert tower.head.weight.grad is not None
    assert tower.body.training == tune


def test_pickled_weights_are_refused(saved, tmp_path):
    (tmp_path / "config.json").write_text((saved / "vit" / "config.json").read_text())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(TowerError, match="Cannot load hf:"):
        hf.HfPictureTower(f"hf:{tmp_path}", 16)


def test_an_unknown_name_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(TowerError, match=r"Cannot load hf:.*nothing") as caught:
        hf.HfTextTower(f"hf:{tmp_path / 'nothing'}", 16)
    assert "\n" not in str(caught.value)


def test_without_the_extra_there_is_a_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(TowerError, match=r"needs pip install 'sameplace\[hf\]'"):
        hf.HfPictureTower("hf:google/siglip2-base-patch16-224", 16)


def test_revisions_stand_behind_an_at():
    assert hf._parse("hf:google/vit@abc") == ("google/vit", "abc")
    assert hf._parse("hf:google/vit") == ("google/vit", None)
