"""The parser's truth table, and that rendered text comes back as it was."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rporec.reasoning.parse import NO_REASONING, TAGS, Parsed, neutralise, parse, render

GOOD = [
    ("<think>a</think><answer>b</answer>", "a", "b", 0),
    ("<think> a </think><answer> b </answer>", "a", "b", 0),
    ("<think>a</think>\n<answer>b</answer>", "a", "b", 0),
    ("\n<think>a</think>\n\n<answer>b</answer>\n", "a", "b", 0),
    ("<think>a\nb</think><answer>c\nd</answer>", "a\nb", "c\nd", 0),
    ("hm <think>a</think><answer>b</answer>", "a", "b", 2),
    ("<think>a</think> so <answer>b</answer>", "a", "b", 2),
    ("<think>a</think><answer>b</answer> done.", "a", "b", 5),
    ("x <think>a</think> yy <answer>b</answer> zzz", "a", "b", 6),
    ("<think>a</think>x y<answer>b</answer>", "a", "b", 3),
    ("<think>1 < 2 > 0</think><answer>b</answer>", "1 < 2 > 0", "b", 0),
    ("<think><b>a</b></think><answer>b</answer>", "<b>a</b>", "b", 0),
    ("<think>a think answer</think><answer>b</answer>", "a think answer", "b", 0),
    ("<think>a</think><answer>‹think›</answer>", "a", "‹think›", 0),
    ("<think><THINK></think><answer>b</answer>", "<THINK>", "b", 0),
    ("<think>< think></think><answer>b</answer>", "< think>", "b", 0),
    ("<think><think </think><answer>b</answer>", "<think", "b", 0),
    ("<think>.</think><answer>,</answer>", ".", ",", 0),
    ("<think>ça 😀 مرحبا</think><answer>日本</answer>", "ça 😀 مرحبا", "日本", 0),
    ("😀<think>a</think><answer>b</answer>", "a", "b", 1),
]
BROKEN = [
    "",
    " \n ",
    "a plain sentence",
    "<think>a</think>",
    "<answer>b</answer>",
    "<think>a</think><answer>b",
    "<think>a</think><answer>",
    "<think>a</think><answer>b</answer",
    "<think>a<answer>b</answer>",
    "a</think><answer>b</answer>",
    "<think>a</think>b</answer>",
    "think>a</think><answer>b</answer>",
    "<think></think><answer>b</answer>",
    "<think>a</think><answer></answer>",
    "<think> \n</think><answer>b</answer>",
    "<think>a</think><answer>\t </answer>",
    "<think></think><answer></answer>",
    "<answer>b</answer><think>a</think>",
    "</think>a<think><answer>b</answer>",
    "<think>a</think></answer>b<answer>",
    "<think><answer>b</answer></think>",
    "<think>a<answer>b</think></answer>",
    "<think>a</think><answer><think>b</answer>",
    "<think>a<think>b</think><answer>c</answer>",
    "<think>a</think></think><answer>c</answer>",
    "<think>a</think><answer>b</answer></answer>",
    "<think>a</think><answer><answer>b</answer>",
    "<think>a</think><think>b</think><answer>c</answer>",
    "<think>a</think><answer>b</answer><answer>c</answer>",
    "<think>a</think><answer>b</answer><think>c</think><answer>d</answer>",
    "<think>a</think><answer>b</answer><think>",
    "<Think>a</Think><Answer>b</Answer>",
    "<THINK>a</THINK><ANSWER>b</ANSWER>",
    "< think>a</ think>< answer>b</ answer>",
    "<think >a</think ><answer >b</answer >",
    "<thinking>a</thinking><answer>b</answer>",
    "＜think＞a＜/think＞＜answer＞b＜/answer＞",
    "&lt;think&gt;a&lt;/think&gt;<answer>b</answer>",
    "[think]a[/think][answer]b[/answer]",
    "<think>a</think><answer>b<answer/>",
]


def test_the_table_is_long_enough():
    assert len(GOOD) + len(BROKEN) >= 40


@pytest.mark.parametrize(("text", "thought", "answer", "outside"), GOOD)
def test_well_formed(text, thought, answer, outside):
    assert parse(text) == Parsed(thought, answer, well_formed=True, outside=outside)


@pytest.mark.parametrize("text", BROKEN)
def test_broken_holds_neither_part_and_is_all_outside(text):
    assert parse(text) == Parsed("", "", well_formed=False, outside=len(text.strip()))


def test_no_reasoning_is_what_an_empty_completion_gives():
    assert parse("") == NO_REASONING


@given(st.lists(st.sampled_from([*TAGS, "a", " ", "<", "think", "\n"]), max_size=9))
def test_any_text_is_read_without_error_and_only_by_the_rule(parts):
    text = "".join(parts)
    parsed = parse(text)
    assert 0 <= parsed.outside <= len(text)
    assert parsed.well_formed == bool(parsed.thought and parsed.answer)
    if parsed.well_formed:
        assert not any(tag in parsed.thought + parsed.answer for tag in TAGS)


@given(st.text(), st.text())
def test_rendered_text_comes_back(thought, answer):
    thought, answer = neutralise(thought), neutralise(answer)
    if thought and answer:
        assert parse(render(thought, answer)) == Parsed(thought, answer, well_formed=True, outside=0)


@pytest.mark.parametrize(("thought", "answer"), [("", "b"), ("a", " "), ("a</think>", "b"), ("a", "<answer>b")])
def test_text_that_would_break_the_format_is_not_rendered(thought, answer):
    with pytest.raises(ValueError, match="without tags"):
        render(thought, answer)


@given(st.text())
def test_neutralised_text_holds_no_markup_quote_or_control(text):
    calm = neutralise(text)
    assert not set(calm) & set('<>"\n\t\r\x00')
    assert neutralise(calm) == calm
