"""Prompts as tokens: which are the subject's, which the words', and which of one prompt answer to which of another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harmonygen.errors import InputError


@dataclass(frozen=True)
class Prompt:
    """A prompt of one subject and its words.

    ``ids`` is (1, T): start, subject, then a comma and a word each, end, padding. ``subject``, ``commas`` and ``words``
    are token positions; a word may be of several tokens.
    """

    text: str
    ids: Tensor
    subject: range
    commas: tuple[range, ...]
    words: tuple[range, ...]
    end: int

    @property
    def word_tokens(self) -> list[int]:
        """The positions of all words' tokens."""
        return [position for word in self.words for position in word]


def tokenize(tokenizer: Any, tokens: int, subject: str, words: Sequence[str]) -> Prompt:
    """Turn ``subject, word, word`` into ``tokens`` token ids.

    Raises:
        InputError: it takes more tokens than the text encoder has places.
    """

    def pieces(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False).input_ids)

    comma = pieces(",")
    ids = [tokenizer.bos_token_id, *pieces(subject)]
    subject_range = range(1, len(ids))
    commas, places = [], []
    for word in words:
        commas.append(range(len(ids), len(ids) + len(comma)))
        ids += comma
        found = pieces(word)
        places.append(range(len(ids), len(ids) + len(found)))
        ids += found
    end, text = len(ids), ", ".join([subject, *words])
    if end >= tokens:
        raise InputError(f"the description '{text}' takes {end + 1} tokens of {tokens}: use fewer words")
    ids += [tokenizer.eos_token_id] + [tokenizer.pad_token_id] * (tokens - end - 1)
    return Prompt(text, torch.tensor([ids]), subject_range, tuple(commas), tuple(places), end)


def mapper(source: Prompt, edit: Prompt) -> Tensor:
    """Return how the edit's cross-attention is made from the source's, (T, T); every row sums to 1: no mass is lost.

    Subject goes to subject, word k to word k, whatever their numbers of tokens. Words that one prompt has more answer
    to all words of the other (to its subject if it has none); end and padding go to end and padding.
    """
    size = source.ids.shape[1]
    weights = torch.zeros(size, size)
    weights[0, 0] = 1
    _join(weights, source.subject, edit.subject)
    pairs = min(len(source.words), len(edit.words))
    for index in range(pairs):
        _join(weights, source.commas[index], edit.commas[index])
        _join(weights, source.words[index], edit.words[index])
    for index in range(pairs, len(source.words)):
        _join(weights, (*source.commas[index], *source.words[index]), edit.word_tokens or edit.subject)
    for index in range(pairs, len(edit.words)):
        _join(weights, source.word_tokens or source.subject, (*edit.commas[index], *edit.words[index]))
    for position in range(source.end, size):
        weights[position, min(edit.end + position - source.end, size - 1)] = 1
    return weights / weights.sum(1, keepdim=True)


def _join(weights: Tensor, source: Iterable[int], edit: Iterable[int]) -> None:
    """Let one group of tokens answer to another: token by token where they are as many, else each to all."""
    sources, targets = list(source), list(edit)
    if len(sources) == len(targets):
        weights[sources, targets] += 1
        return
    for position in sources:
        weights[position, targets] += 1 / len(targets)
