from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import CLIPTokenizer

from harmonygen.errors import InputError
from harmonygen.harmonization.zeroshot.prompts import mapper, tokenize

WORDS = ["sunny", "rainy", "dark", "night", "warm", "foggy"]
SUBJECTS = ["girl", "girl in a coat", "zebra"]


@pytest.fixture(scope="module")
def tokenizer(random_sd1):
    return CLIPTokenizer.from_pretrained(random_sd1 / "tokenizer")


def test_a_prompt_is_tokenized_as_its_text_is(tokenizer):
    prompt = tokenize(tokenizer, 77, "girl in a coat", ["rainy", "warm"])
    whole = tokenizer("girl in a coat, rainy, warm", padding="max_length", max_length=77, return_tensors="pt")
    assert prompt.ids.tolist() == whole.input_ids.tolist()


def test_spans_cover_subject_and_words_of_several_tokens(tokenizer):
    prompt = tokenize(tokenizer, 77, "girl in a coat", ["rainy", "warm"])
    spelt = tokenizer.convert_ids_to_tokens(prompt.ids[0].tolist())
    assert [spelt[place] for place in prompt.subject] == ["girl</w>", "in</w>", "a</w>", "coat</w>"]
    assert [[spelt[place] for place in word] for word in prompt.words] == [["rain", "y</w>"], ["warm</w>"]]
    assert [spelt[place] for comma in prompt.commas for place in comma] == [",</w>"] * 2
    assert spelt[prompt.end] == tokenizer.eos_token


def test_too_long_a_description_is_refused_by_name(tokenizer):
    with pytest.raises(InputError, match=r"'girl, (dark, )+.*takes \d+ tokens of 12"):
        tokenize(tokenizer, 12, "girl", ["dark"] * 8)


@given(
    st.sampled_from(SUBJECTS),
    st.lists(st.sampled_from(WORDS), max_size=4, unique=True),
    st.lists(st.sampled_from(WORDS), max_size=4, unique=True),
)
@settings(deadline=None, max_examples=60)
def test_the_mapper_loses_no_attention_and_makes_none(tokenizer, subject, first, second):
    source, edit = tokenize(tokenizer, 40, subject, first), tokenize(tokenizer, 40, subject, second)
    weights = mapper(source, edit)
    torch.testing.assert_close(weights.sum(1), torch.ones(40))
    assert weights.min() >= 0
    attention = torch.rand(3, 40).softmax(-1)
    torch.testing.assert_close((attention @ weights).sum(-1), torch.ones(3))
    assert all(weights[:, place].sum() > 0 for place in (*edit.subject, *edit.word_tokens))


def test_equal_prompts_are_mapped_as_they_are(tokenizer):
    prompt = tokenize(tokenizer, 40, "girl in a coat", ["rainy", "warm"])
    assert torch.equal(mapper(prompt, prompt), torch.eye(40))


def test_word_answers_to_word_whatever_its_tokens(tokenizer):
    source = tokenize(tokenizer, 40, "girl", ["rainy", "day"])
    edit = tokenize(tokenizer, 40, "girl", ["dark", "night"])
    weights = mapper(source, edit)
    (dark,), (day,), (night,) = edit.words[0], source.words[1], edit.words[1]
    assert [float(weights[place, dark]) for place in source.words[0]] == [1, 1]
    assert float(weights[day, night]) == 1


def test_words_that_one_side_has_more_share_all_of_the_other(tokenizer):
    source = tokenize(tokenizer, 40, "girl", ["dark"])
    edit = tokenize(tokenizer, 40, "girl", ["warm", "night"])
    weights = mapper(source, edit)
    dark = source.words[0].start
    assert weights[dark, edit.words[0].start] > weights[dark, edit.words[1].start] > 0
