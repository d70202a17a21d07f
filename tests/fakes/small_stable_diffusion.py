"""Stable Diffusion folders of the real classes, small: a tokenizer of few words, and randomly initialised weights."""

from __future__ import annotations

import json
import string
from itertools import pairwise
from pathlib import Path
from typing import Any

START, END = "<|startoftext|>", "<|endoftext|>"
MODEL_INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.35.0",
    "feature_extractor": [None, None],
    "image_encoder": [None, None],
    "requires_safety_checker": False,
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
NOISE: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
}
WORDS = (
    *("object", "girl", "coat", "in", "a", "the", "dog", "bright", "dark", "sunny", "cloudy", "rain|y", "fog|gy"),
    *("warm", "cold", "cool", "day", "night", "dusk", "indoor", "street", "forest"),
)


def write_stable_diffusion(
    folder: Path, parts: dict[str, Any], words: tuple[str, ...], tokens: int, pipeline: str = "StableDiffusionPipeline"
) -> Path:
    """Write model parts (anything with ``save_pretrained``), a tokenizer and ``model_index.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in parts.items():
        part.save_pretrained(folder / name)
    write_tokenizer(folder / "tokenizer", words, tokens)
    scheduler = ["diffusers", type(parts["scheduler"]).__name__]
    index = {**MODEL_INDEX, "scheduler": scheduler, "_class_name": pipeline}
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    return folder


def write_tokenizer(folder: Path, words: tuple[str, ...], tokens: int) -> None:
    """Write CLIP's tokenizer files, with one token a word, or one a piece where bars part it (``pur|ple``).

    Other words are spelt letter by letter.
    """
    vocabulary, merges = byte_pairs(words)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({name: index for index, name in enumerate(vocabulary)}) + "\n")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *(" ".join(pair) for pair in merges)]) + "\n")
    config = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": tokens,
        "bos_token": START,
        "eos_token": END,
        "unk_token": END,
        "pad_token": END,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


def byte_pairs(words: tuple[str, ...]) -> tuple[list[str], list[tuple[str, str]]]:
    """Return (vocabulary, merges) of byte-pair encoding under which every word becomes the pieces between its bars.

    A word's merges are added after those of the words before it, on what these leave of it: later merges rank lower,
    so the words before stay whole.
    """
    letters = [*string.ascii_lowercase, *string.digits, *",.&()-'"]
    vocabulary = [START, END, *letters, *(f"{letter}</w>" for letter in letters)]
    merges: list[tuple[str, str]] = []
    for word in words:
        for piece in whole_pieces(word):
            symbols = encode(piece, merges)
            while len(symbols) > 1:
                merges.append((symbols[0], symbols[1]))
                symbols = [symbols[0] + symbols[1], *symbols[2:]]
    vocabulary += dict.fromkeys(left + right for left, right in merges)
    for word in words:
        spelt = [symbol for piece in whole_pieces(word)[:1] for symbol in piece]
        spelt += [symbol for piece in whole_pieces(word)[1:] for symbol in piece]
        if encode(spelt, merges) != ["".join(piece) for piece in whole_pieces(word)]:
            raise ValueError(f"{word!r} is not cut as asked, but {encode(spelt, merges)}: put it elsewhere in the list")
    return vocabulary, merges


def whole_pieces(word: str) -> list[list[str]]:
    """``"pur|ple"`` -> ``[["p", "u", "r"], ["p", "l", "e</w>"]]``."""
    pieces = [list(piece) for piece in word.split("|")]
    pieces[-1][-1] += "</w>"
    return pieces


def encode(symbols: list[str], merges: list[tuple[str, str]]) -> list[str]:
    """Byte-pair encoding: join the pair of lowest rank until none is left."""
    rank = {pair: index for index, pair in reversed(list(enumerate(merges)))}
    while found := [pair for pair in pairwise(symbols) if pair in rank]:
        best = min(found, key=rank.__getitem__)
        joined: list[str] = []
        for symbol in symbols:
            if joined and (joined[-1], symbol) == best:
                joined[-1] += symbol
            else:
                joined.append(symbol)
        symbols = joined
    return symbols


def narrow_stable_diffusion(
    folder: Path,
    in_channels: int = 9,
    prediction_type: str = "epsilon",
    seed: int = 0,
    pipeline: str = "StableDiffusionInpaintPipeline",
) -> Path:
    """Write Stable Diffusion 1.5 block for block, at a fortieth of its widths; prompts have 77 tokens, 8 wide."""
    import torch
    from diffusers import AutoencoderKL, PNDMScheduler, UNet2DConditionModel

    torch.manual_seed(seed)
    widths = (8, 16, 32, 32)
    unet = UNet2DConditionModel(
        sample_size=64,
        in_channels=in_channels,
        block_out_channels=widths,
        cross_attention_dim=8,
        attention_head_dim=2,
        norm_num_groups=4,
    )
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=widths,
        layers_per_block=2,
        norm_num_groups=4,
    )
    scheduler = PNDMScheduler(**NOISE, prediction_type=prediction_type, skip_prk_steps=True)
    text = _text_encoder(WORDS, hidden_size=8, intermediate_size=16, num_attention_heads=2)
    parts = {"unet": unet, "vae": vae, "scheduler": scheduler, "text_encoder": text}
    return write_stable_diffusion(folder, parts, WORDS, 77, pipeline)


def random_stable_diffusion(folder: Path, version: str, seed: int = 0) -> Path:
    """Write a randomly initialised Stable Diffusion of version "1" or "2": its scheduler, prediction and projections.

    The autoencoder halves three times as the real one does; the UNet has cross-attention on two levels: at 16 x 16 and
    8 x 8 for pictures of 128 pixels. Prompts have 77 tokens.
    """
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, PNDMScheduler, UNet2DConditionModel

    torch.manual_seed(seed)
    second = version == "2"
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 16, 16),
        norm_num_groups=4,
        sample_size=128,
    )
    unet = UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(64, 64, 64),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=32,
        attention_head_dim=(2, 4, 4) if second else 4,  # the number of heads, in spite of its name
        use_linear_projection=second,
        norm_num_groups=16,
    )
    scheduler = (
        DDIMScheduler(**NOISE, set_alpha_to_one=False, prediction_type="v_prediction", clip_sample=False)
        if second
        else PNDMScheduler(**NOISE, set_alpha_to_one=False, prediction_type="epsilon", skip_prk_steps=True)
    )
    act = "gelu" if second else "quick_gelu"
    text = _text_encoder(WORDS, hidden_size=32, intermediate_size=64, num_attention_heads=4, hidden_act=act)
    parts = {"vae": vae, "unet": unet, "scheduler": scheduler, "text_encoder": text}
    return write_stable_diffusion(folder, parts, WORDS, tokens=77)


def _text_encoder(words: tuple[str, ...], **sizes: Any) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel

    marks = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    return CLIPTextModel(CLIPTextConfig(vocab_size=len(byte_pairs(words)[0]), num_hidden_layers=2, **marks, **sizes))
