"""A small Llava of the real classes with random weights, its processor, and a tokenizer of a few words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", "<image>")
TEMPLATE = (
    "{% for message in messages %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image> {% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %} it{% endif %}"
)


def write_llava(folder: Path, words: Sequence[str], loud: float = 1) -> Path:
    """Write the model and its processor; with a ``loud`` of 4, pictures do not all get nearly one answer."""
    llava_processor(words).save_pretrained(folder)
    llava_model(words, loud).save_pretrained(folder)
    return folder


def llava_processor(words: Sequence[str], template: str | None = TEMPLATE):
    """Return a processor whose tokens are the special ones and then the words."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import CLIPImageProcessor, LlavaProcessor, PreTrainedTokenizerFast

    every = {word: index for index, word in enumerate([*SPECIAL, *words])}
    tokenizer = Tokenizer(WordLevel(every, unk_token="<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    fast.add_special_tokens({"additional_special_tokens": ["<image>"]})
    return LlavaProcessor(
        image_processor=CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}),
        tokenizer=fast,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template,
    )


def llava_model(words: Sequence[str], loud: float = 1):
    """Return a randomly initialised model, the same each time; its weights are multiplied by ``loud``."""
    import torch
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    torch.manual_seed(0)
    small = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
    vision = CLIPVisionConfig(**small, num_hidden_layers=2, image_size=16, patch_size=8)
    size = len(SPECIAL) + len(words)
    text = LlamaConfig(**small, vocab_size=size, num_hidden_layers=1, max_position_embeddings=1024)
    image = SPECIAL.index("<image>")
    model = LlavaForConditionalGeneration(LlavaConfig(vision_config=vision, text_config=text, image_token_index=image))
    for parameter in model.parameters():
        parameter.data *= loud
    return model
