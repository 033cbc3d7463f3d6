import textwrap

from hypothesis import given
from hypothesis import strategies as st

from fnet_jax.data.text import paragraphs, sentences

PROSE = (
    "It was a bright cold day in April, and the clocks were striking thirteen while nobody cared to listen.",
    '"Will you promise?" asked Mr. Smith of the two travellers who had come with him from the coast.',
    "Nobody answered for a long time, and when J. R. Brown spoke it was about something else entirely.",
    "The rain went on.",
)


def test_sentences_end_where_a_capital_or_a_digit_follows():
    text = 'He said so. "Did he?" Yes! 12 times.'
    assert sentences(text) == ["He said so.", '"Did he?"', "Yes!", "12 times."]


def test_abbreviations_and_initials_do_not_end_a_sentence():
    assert sentences("Mr. Smith met J. R. Brown. They spoke, e.g. Latin.") == [
        "Mr. Smith met J. R. Brown.",
        "They spoke, e.g. Latin.",
    ]


def test_version_numbers_and_small_letters_do_not_end_a_sentence():
    assert sentences("Use numpy 2.4 or so. and more") == ["Use numpy 2.4 or so. and more"]


def test_chinese_marks_need_no_space():
    assert sentences("\u4f60\u597d\u3002\u518d\u89c1\u3002") == ["\u4f60\u597d\u3002", "\u518d\u89c1\u3002"]


@given(st.text())
def test_sentences_lose_nothing_but_whitespace(text):
    assert "".join("".join(sentences(text)).split()) == "".join(text.split())


def test_lines_of_unwrapped_text_are_its_paragraphs():
    assert paragraphs("One line.\r\n\r\n  Another   line. \r\n") == ["One line.", "Another line."]


def test_wrapped_text_with_blank_lines_is_joined():
    text = "\r\n\r\n".join("\r\n".join(textwrap.wrap(p, 50)) for p in PROSE * 3)
    assert paragraphs(text) == list(PROSE * 3)


def test_wrapped_text_with_indented_paragraphs_is_joined():
    text = "\n".join("\n".join(textwrap.wrap(p, 50, initial_indent="    ")) for p in PROSE * 3)
    assert paragraphs(text) == list(PROSE * 3)


def test_wrapped_text_without_any_mark_breaks_after_short_last_lines():
    text = "\n".join("\n".join(textwrap.wrap(p, 50)) for p in PROSE[:1] * 4)
    assert paragraphs(text) == [PROSE[0]] * 4


@given(st.text())
def test_paragraphs_lose_nothing_but_whitespace(text):
    assert "".join("".join(paragraphs(text)).split()) == "".join(text.split())
