"""Cross-attention to a constant prompt gives what the usual processors give, and leaves the model as it was."""

from __future__ import annotations

import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor2_0

from harmonygen.models.constant_prompt import ConstantPrompt, constant_prompt
from harmonygen.models.denoiser import small_unet

CONFIG = {
    "block_out_channels": (16, 32),
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "cross_attention_dim": 24,
    "attention_head_dim": 4,
}


@pytest.fixture(scope="module")
def unet():
    torch.manual_seed(0)
    return small_unet(CONFIG).eval().requires_grad_(False)


def inputs(tokens: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    prompt = torch.randn(1, tokens, 24, generator=generator).expand(3, -1, -1)
    return torch.randn(3, 9, 8, 16, generator=generator), torch.tensor(500), prompt


@pytest.mark.parametrize("tokens", [1, 2, 77])
def test_the_result_is_the_usual_one_to_rounding(unet, tokens):
    usual = unet(*inputs(tokens)).sample
    with constant_prompt(unet):
        assert torch.allclose(unet(*inputs(tokens)).sample, usual, atol=1e-5)
        again = unet(*inputs(tokens)).sample
    assert torch.allclose(again, usual, atol=1e-5)
    assert torch.equal(unet(*inputs(tokens)).sample, usual)


@pytest.mark.parametrize("tokens", [1, 77])
def test_keys_and_values_are_computed_once_for_all_steps(unet, tokens):
    calls = []
    layers = [module.to_k for name, module in unet.named_modules() if name.endswith("attn2")]
    hooks = [layer.register_forward_hook(lambda *_: calls.append(1)) for layer in layers]
    with constant_prompt(unet):
        for _ in range(4):
            unet(*inputs(tokens))
    for hook in hooks:
        hook.remove()
    assert len(calls) == len(layers) > 0


def test_another_prompt_in_the_next_block_is_seen(unet):
    results = []
    for seed in (0, 1):
        sample, step, _ = inputs(3)
        prompt = inputs(3, seed)[2]
        with constant_prompt(unet):
            results.append(unet(sample, step, prompt).sample)
        assert torch.allclose(results[-1], unet(sample, step, prompt).sample, atol=1e-5)
    assert not torch.allclose(results[0], results[1], atol=1e-4)


def test_processors_come_back_also_after_an_error_and_anothers_are_left_alone(unet):
    class Own(AttnProcessor2_0):
        """A processor of the user's."""

    before = unet.attn_processors
    changed = {name: Own() if name.startswith("mid") else found for name, found in before.items()}
    unet.set_attn_processor(dict(changed))
    kinds: dict[str, type] = {}

    def work() -> None:
        with constant_prompt(unet):
            kinds.update({name: type(found) for name, found in unet.attn_processors.items()})
            raise KeyError

    with pytest.raises(KeyError):
        work()
    assert {kinds[name] for name in kinds if name.startswith("mid")} == {Own}
    assert ConstantPrompt in kinds.values()
    assert all(kinds[name] is not ConstantPrompt for name in kinds if "attn1" in name)
    assert unet.attn_processors == changed
    unet.set_attn_processor(before)


def test_a_masked_prompt_is_refused(unet):
    sample, step, prompt = inputs(3)
    with constant_prompt(unet), pytest.raises(ValueError, match="without a mask"):
        unet(sample, step, prompt, encoder_attention_mask=torch.tensor([[1, 1, 0]] * 3))
