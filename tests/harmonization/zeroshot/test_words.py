"""Descriptions by hand and by reply: what is kept, what is refused and how it is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmonygen.errors import InputError
from harmonygen.harmonization.zeroshot.words import (
    LIST_OF,
    LISTS,
    Description,
    ReplyError,
    by_hand,
    parse_replies,
    parse_reply,
)

ONE_OF_EACH = st.fixed_dictionaries({name: st.sampled_from(("", *words)) for name, words in LISTS.items()})
SIDE = ONE_OF_EACH.map(lambda chosen: tuple(filter(None, chosen.values()))).filter(bool)
NAME = st.lists(st.sampled_from(("a", "woman", "in", "red", "coat", "café", "T-shirt")), min_size=1, max_size=12)


def test_there_are_seven_lists_and_no_word_is_in_two():
    assert list(LISTS) == ["brightness", "weather", "temperature", "season", "time", "colour tone", "environment"]
    words = [word for words in LISTS.values() for word in words]
    assert len(words) == len(set(words)) == len(LIST_OF)
    assert all(word == word.casefold() and word.isalpha() for word in words)


@given(name=NAME, foreground=SIDE, background=SIDE, separator=st.sampled_from((" ", ", ", "  ")))
def test_a_written_reply_is_read_back(name, foreground, background, separator):
    subject = " ".join(name)
    line = f"{subject} & (foreground) {separator.join(foreground)} & (background) {separator.join(background)}"
    assert parse_reply(line) == Description(subject, foreground, background)


def test_an_object_of_several_words_is_kept_whole_and_first_in_both_prompts():
    found = parse_reply(" a woman in a red coat &(Foreground) Bright, WARM & (background)dark night\n")
    assert found.prompts == ("a woman in a red coat, bright, warm", "a woman in a red coat, dark, night")


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        ("", "write 'object & (foreground)"),
        ("a girl in the sun", "write 'object & (foreground)"),
        ("Sure! girl & (foreground) bright & (background) dark. Hope it helps", "dark."),
        ("girl & (background) bright & (foreground) dark", "write 'object"),
        ("girl & (foreground) bright & (background) dark & (foreground) dim", "write 'object"),
        ("& (foreground) bright & (background) dark", "a name has 1 to 12 words"),
        ("girl, woman & (foreground) bright & (background) dark", "a name has 1 to 12 words"),
        (f"{'very ' * 12}old & (foreground) bright & (background) dark", "a name has 1 to 12 words"),
        ("girl & (foreground) & (background) dark", "the foreground has no word"),
        ("girl & (foreground) bright & (background) gloomy", "the background has 'gloomy'"),
        ("girl & (foreground) bright dim & (background) dark", "'bright' and 'dim' of the list brightness"),
        ("girl & (foreground) bright bright & (background) dark", "'bright' and 'bright' of the list brightness"),
    ],
)
def test_a_reply_of_another_form_is_refused_and_says_why(reply, told):
    with pytest.raises(ReplyError) as caught:
        parse_reply(reply)
    assert told in str(caught.value)


def test_an_endless_reply_is_quoted_shortened():
    with pytest.raises(ReplyError) as caught:
        parse_reply("word " * 10_000)
    assert len(str(caught.value)) < 300


def test_alternatives_come_a_line_each_in_order_and_once():
    first, second = "cat & (foreground) dim & (background) lit", "cat & (foreground) dark & (background) lit"
    found = parse_replies(f"{first}\n\n{second}\r\n{first}\n")
    assert found == [parse_reply(first), parse_reply(second)]


def test_one_bad_line_refuses_the_reply_and_is_numbered():
    with pytest.raises(ReplyError, match=r"^line 2: .*'here you are'"):
        parse_replies("cat & (foreground) dim & (background) lit\nhere you are")
    with pytest.raises(ReplyError, match="empty reply"):
        parse_replies(" \n")


def test_words_by_hand_need_not_be_of_the_lists():
    found = by_hand("girl  in a coat,  like polaroid ", "Girl in a coat, moonlit, noir")
    assert found == Description("girl in a coat", ("like polaroid",), ("moonlit", "noir"))
    assert by_hand("girl, sunny", "dark").prompts == ("girl, sunny", "girl, dark")


@pytest.mark.parametrize(
    ("foreground", "background", "told"),
    [
        ("", "dark", "names no object"),
        (", sunny", "dark", "names no object"),
        ("girl", "dark", "foreground has no word"),
        ("girl, sunny", "", "background has no word"),
        ("girl, sunny", "girl", "background has no word"),
        ("girl, sunny,", "dark", "an empty one"),
        ("girl, sunny, sunny", "dark", "'sunny' twice"),
        ("girl\0, sunny", "dark", "control character"),
    ],
)
def test_words_by_hand_that_make_no_description_are_refused(foreground, background, told):
    with pytest.raises(InputError) as caught:
        by_hand(foreground, background)
    assert told in str(caught.value)
