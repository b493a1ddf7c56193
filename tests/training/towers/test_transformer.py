import pytest
import torch
from torch import nn

from training.towers import transformer
from training.towers.transformer import Transformer


def make_pair():
    ours = Transformer(32, 2, 4, hidden=48)
    layer = nn.TransformerEncoderLayer(32, 4, 48, dropout=0.0, activation="gelu", batch_first=True, norm_first=True)
    torchs = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    torchs.load_state_dict(ours.state_dict())
    return ours, torchs


def test_it_is_torchs_encoder():
    ours, torchs = make_pair()
    x_BLD = torch.randn(3, 7, 32)
    mask_BL = torch.arange(7) < torch.tensor([[7], [4], [1]])
    assert torch.allclose(ours(x_BLD), torchs(x_BLD), atol=1e-5)
    assert torch.allclose(ours(x_BLD, mask_BL), torchs(x_BLD, src_key_padding_mask=~mask_BL), atol=1e-5)


def test_the_plain_form_of_attention_is_the_fused_one():
    query, key, value = torch.randn(3, 2, 4, 70, 8).unbind(0)
    mask = (torch.arange(70) < torch.tensor([[70], [40]]))[:, None, None]
    for attn_mask in (None, mask):
        fused = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=attn_mask)
        plain = transformer._attend_plainly(query, key, value, attn_mask=attn_mask, dropout_p=0.0)
        assert torch.allclose(plain, fused, atol=1e-6)


def test_bfloat16_stays_near_float32():
    model = Transformer(32, 2, 4)
    x_BLD = torch.randn(3, 70, 32)
    with torch.autocast("cpu", torch.bfloat16):
        cast = model(x_BLD)
    assert torch.allclose(cast, model(x_BLD), atol=0.1)
    assert not torch.equal(cast, model(x_BLD))


def test_checkpointing_changes_no_gradient():
    x_BLD = torch.randn(2, 5, 32)
    plain = Transformer(32, 2, 4, dropout=0.3)
    recomputing = Transformer(32, 2, 4, dropout=0.3, checkpointing=True)
    recomputing.load_state_dict(plain.state_dict())
    for model in (plain, recomputing):
        torch.manual_seed(0)
        model(x_BLD).square().sum().backward()
    for one, two in zip(plain.parameters(), recomputing.parameters(), strict=True):
        assert torch.allclose(one.grad, two.grad, atol=1e-5)


def test_dropout_drops_only_in_training():
    x_BLD = torch.randn(2, 5, 32)
    model = Transformer(32, 1, 4, dropout=0.5)
    assert not torch.equal(model(x_BLD), model(x_BLD))
    model.eval()
    assert torch.equal(model(x_BLD), model(x_BLD))


def test_flops_are_those_that_torch_counts():
    from torch.utils.flop_counter import FlopCounterMode

    model = Transformer(32, 2, 4)
    with FlopCounterMode(display=False) as counter, torch.autocast("cpu", torch.bfloat16):  # fused ones go uncounted
        model(torch.randn(1, 9, 32))
    assert model.flops(9) == counter.get_total_flops()


def test_heads_divide_the_width():
    with pytest.raises(ValueError, match="32 does not divide into 5 heads"):
        Transformer(32, 1, 5)
