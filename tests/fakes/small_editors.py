"""Small editing pipelines of diffusers, of the real classes with random weights; their tokenizers are made here.

The autoencoders halve three times, as the real ones do, so that sides are multiples of 16 here too. ``latents`` is the
number of their channels.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.fakes.small_stable_diffusion import WORDS, byte_pairs, write_tokenizer

SMALL = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
CHAT = (
    "{% for message in messages %}{{ '<|im_start|>' }}{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}{{ part['text'] }}{% endfor %}{% endif %}{% endfor %}"
)
QWEN = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>")
QWEN_MARKS = (*QWEN, "<|video_pad|>")
PIXTRAL_MARKS = ("<|endoftext|>", "<|im_start|>", "[IMG]", "[IMG_BREAK]", "[IMG_END]")


def flux_kontext(folder: Path, latents: int = 4) -> Path:
    """A FluxKontextPipeline: CLIP and T5 read the words."""
    import torch
    from diffusers import AutoencoderKL, FluxTransformer2DModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, T5Config, T5EncoderModel, T5TokenizerFast

    torch.manual_seed(0)
    vocabulary, _ = byte_pairs(WORDS)
    marks = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    clip = CLIPTextConfig(vocab_size=len(vocabulary), num_hidden_layers=1, **SMALL, **marks)
    parts = {
        "vae": _autoencoder(AutoencoderKL, latents, shift_factor=0.1, scaling_factor=0.4),
        "transformer": FluxTransformer2DModel(
            in_channels=4 * latents,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=16,
            pooled_projection_dim=16,
            axes_dims_rope=(4, 4, 8),
            guidance_embeds=True,
        ),
        "text_encoder": CLIPTextModel(clip),
        "text_encoder_2": T5EncoderModel(T5Config(vocab_size=200, d_model=16, d_kv=8, d_ff=16, num_layers=1)),
        "tokenizer": (CLIPTokenizer, lambda place: write_tokenizer(place, WORDS, 77)),
        "tokenizer_2": (T5TokenizerFast, lambda place: _pieces().save_pretrained(place)),
        "scheduler": _scheduler(),
    }
    return _write_pipeline(folder, "FluxKontextPipeline", parts)


def qwen_image_edit(folder: Path, latents: int = 4, kind: str = "QwenImageEditPipeline") -> Path:
    """A QwenImageEditPipeline: Qwen2.5-VL reads the words and the picture."""
    import torch
    from diffusers import AutoencoderKLQwenImage, QwenImageTransformer2DModel
    from transformers import (
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2Tokenizer,
        Qwen2VLImageProcessor,
        Qwen2VLProcessor,
        Qwen2VLVideoProcessor,
    )

    torch.manual_seed(0)
    words = _bytes(QWEN_MARKS)
    pixels = {"min_pixels": 28 * 28, "max_pixels": 4 * 28 * 28}  # few tokens of the picture
    images, videos = Qwen2VLImageProcessor(**pixels), Qwen2VLVideoProcessor(**pixels)
    name = {mark: words.convert_tokens_to_ids(mark) for mark in QWEN_MARKS}
    rope = {"mrope_section": [1, 1, 2], "rope_type": "default", "type": "default"}
    text = {**SMALL, "num_hidden_layers": 1, "num_key_value_heads": 2, "vocab_size": len(words), "rope_scaling": rope}
    seen = {"hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "depth": 1, "out_hidden_size": 16}
    config = Qwen2_5_VLConfig(
        text_config=text,
        vision_config={**seen, "fullatt_block_indexes": [0]},
        image_token_id=name["<|image_pad|>"],
        video_token_id=name["<|video_pad|>"],
        vision_start_token_id=name["<|vision_start|>"],
        vision_end_token_id=name["<|vision_end|>"],
    )
    parts = {
        "vae": AutoencoderKLQwenImage(
            base_dim=4,
            z_dim=latents,
            dim_mult=[1, 1, 1, 1],
            num_res_blocks=1,
            temperal_downsample=[False, True, True],
            latents_mean=[0.0] * latents,
            latents_std=[1.0] * latents,
        ),
        "transformer": QwenImageTransformer2DModel(
            in_channels=4 * latents,
            out_channels=latents,
            num_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=16,
            axes_dims_rope=(8, 4, 4),
        ),
        "text_encoder": Qwen2_5_VLForConditionalGeneration(config),
        "tokenizer": (Qwen2Tokenizer, words.save_pretrained),
        "processor": Qwen2VLProcessor(images, words, videos, chat_template=CHAT),
        "scheduler": _scheduler(),
    }
    return _write_pipeline(folder, kind, parts)


def flux2(folder: Path, latents: int = 4) -> Path:
    """A Flux2Pipeline: the words are layers 10, 20 and 30 of a Mistral 3."""
    import torch
    from transformers import Mistral3Config, Mistral3ForConditionalGeneration, PixtralImageProcessor, PixtralProcessor

    torch.manual_seed(0)
    words = _bytes(PIXTRAL_MARKS)
    layers = {"num_hidden_layers": 30, "num_key_value_heads": 2, "head_dim": 8, "vocab_size": len(words)}
    config = Mistral3Config(
        text_config={"model_type": "mistral", **SMALL, **layers},
        vision_config={"model_type": "pixtral", **SMALL, "num_hidden_layers": 1, "image_size": 28, "patch_size": 14},
        image_token_index=words.convert_tokens_to_ids("[IMG]"),
    )
    parts = {
        **_flux2_parts(latents, guidance_embeds=True),
        "text_encoder": Mistral3ForConditionalGeneration(config),
        "tokenizer": PixtralProcessor(PixtralImageProcessor(), words, chat_template=CHAT),
    }
    return _write_pipeline(folder, "Flux2Pipeline", parts)


def flux2_klein(folder: Path, latents: int = 4) -> Path:
    """A Flux2KleinPipeline: the words are layers 9, 18 and 27 of a Qwen 3."""
    import torch
    from transformers import Qwen2TokenizerFast, Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    words = _bytes(QWEN_MARKS)
    words.chat_template = CHAT
    config = Qwen3Config(
        **SMALL, num_hidden_layers=27, num_key_value_heads=2, head_dim=8, vocab_size=len(words), pad_token_id=0
    )
    parts = {
        **_flux2_parts(latents, guidance_embeds=False),
        "text_encoder": Qwen3ForCausalLM(config),
        "tokenizer": (Qwen2TokenizerFast, words.save_pretrained),
    }
    return _write_pipeline(folder, "Flux2KleinPipeline", parts)


EDITORS = {
    "FluxKontext": flux_kontext,
    "QwenImageEdit": qwen_image_edit,
    "QwenImageEditPlus": lambda folder, latents=4: qwen_image_edit(folder, latents, "QwenImageEditPlusPipeline"),
    "Flux2": flux2,
    "Flux2Klein": flux2_klein,
}
"""What writes a small pipeline, by the name of its class without ``Pipeline``."""


def small_sides() -> list[tuple[Any, Callable[..., Any]]]:
    """Return the modules of QwenImageEdit and, for each, a ``calculate_dimensions`` that stays small.

    The real one brings every picture to a megapixel, which takes seconds.
    """
    from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit, pipeline_qwenimage_edit_plus

    def sides(_: int, ratio: float) -> tuple[int, int]:
        return round(192 * ratio**0.5 / 16) * 16, round(192 / ratio**0.5 / 16) * 16

    return [(pipeline_qwenimage_edit, lambda *given: (*sides(*given), None)), (pipeline_qwenimage_edit_plus, sides)]


def _flux2_parts(latents: int, guidance_embeds: bool) -> dict[str, Any]:
    from diffusers import AutoencoderKLFlux2, Flux2Transformer2DModel

    transformer = Flux2Transformer2DModel(
        in_channels=4 * latents,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=48,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=guidance_embeds,
    )
    return {
        "vae": _autoencoder(AutoencoderKLFlux2, latents),
        "transformer": transformer,
        "scheduler": _scheduler(),
    }


def _autoencoder(kind: Any, latents: int, **more: float) -> Any:
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    sizes = {"block_out_channels": (4,) * 4, "layers_per_block": 1, "norm_num_groups": 2}
    return kind(**blocks, **sizes, latent_channels=latents, mid_block_add_attention=False, **more)


def _scheduler() -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)


def _bytes(marks: tuple[str, ...]) -> Any:
    """A tokenizer of the bytes, one token each, as Qwen's and Mistral's are without their merges; ``marks`` first."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    every = [*marks, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(BPE({token: index for index, token in enumerate(every)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = {"pad_token": marks[0], "eos_token": marks[0], "additional_special_tokens": list(marks[1:])}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


def _pieces() -> Any:
    """A tokenizer of letters, as T5's is of pieces of words."""
    import string

    from tokenizers import Tokenizer, pre_tokenizers
    from tokenizers.models import Unigram
    from transformers import PreTrainedTokenizerFast

    letters = [(letter, -1.0) for letter in ("▁", *string.ascii_letters, *string.punctuation)]
    tokenizer = Tokenizer(Unigram([("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *letters], unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


def _write_pipeline(folder: Path, kind: str, parts: Mapping[str, Any]) -> Path:
    """Write the parts of a pipeline of the class ``kind``, and what lists them.

    A part is an object with ``save_pretrained``, or the class that reads it and what writes it.
    """
    index: dict[str, Any] = {"_class_name": kind, "_diffusers_version": "0.35.0"}
    for name, part in parts.items():
        reader, write = part if isinstance(part, tuple) else (type(part), part.save_pretrained)
        write(folder / name)
        index[name] = [reader.__module__.partition(".")[0], reader.__name__]
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder
