"""The parser's truth table, and that rendered text comes back as it was."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rporec.reasoning.parse import NO_REASONING, TAGS, Parsed, neutralise, parse, render

LONG = "x" * 10_000
WHOLE = "<think>a</think><answer>b</answer>"
# text, thought, answer, well formed, characters outside
TABLE = [
    # the form itself, white space around the parts
    (WHOLE, "a", "b", True, 0),
    ("<think> a </think><answer> b </answer>", "a", "b", True, 0),
    ("<think>a</think>\n<answer>b</answer>", "a", "b", True, 0),
    ("\n<think>a</think>\n\n<answer>b</answer>\n", "a", "b", True, 0),
    ("<think>a\nb</think><answer>c\nd</answer>", "a\nb", "c\nd", True, 0),
    ("<think>\r\na\r\nb\r\n</think>\r\n<answer>\r\nc\r\n</answer>\r\n", "a\r\nb", "c", True, 0),
    ("\u00a0<think>\u3000a</think>\u2003<answer>b\u2028</answer>", "a", "b", True, 0),
    ("<think>.</think><answer>,</answer>", ".", ",", True, 0),
    # text outside: before, between, after; the white space at its edges is free
    ("hm " + WHOLE, "a", "b", True, 2),
    ("<think>a</think> so <answer>b</answer>", "a", "b", True, 2),
    (WHOLE + " done.", "a", "b", True, 5),
    ("x <think>a</think> yy <answer>b</answer> zzz", "a", "b", True, 6),
    ("<think>a</think>x y<answer>b</answer>", "a", "b", True, 3),
    ("x\r\ny" + WHOLE, "a", "b", True, 4),
    (LONG + WHOLE + LONG, "a", "b", True, 20_000),
    ("😀" + WHOLE, "a", "b", True, 1),
    ("\x00" + WHOLE, "a", "b", True, 1),
    ("\ufeff" + WHOLE, "a", "b", True, 1),
    # what looks like markup inside a part is text
    ("<think>1 < 2 > 0</think><answer>b</answer>", "1 < 2 > 0", "b", True, 0),
    ("<think><b>a</b></think><answer>b</answer>", "<b>a</b>", "b", True, 0),
    ("<think>a think answer</think><answer>b</answer>", "a think answer", "b", True, 0),
    ("<think>a</think><answer>‹think›</answer>", "a", "‹think›", True, 0),
    ("<think><THINK></think><answer>b</answer>", "<THINK>", "b", True, 0),
    ("<think>< think></think><answer>b</answer>", "< think>", "b", True, 0),
    ("<think><think </think><answer>b</answer>", "<think", "b", True, 0),
    ("<think>a</think><answer>&lt;answer&gt;</answer>", "a", "&lt;answer&gt;", True, 0),
    ("<think>a \"b\" 'c'</think><answer>\\n</answer>", "a \"b\" 'c'", "\\n", True, 0),
    # scripts, directions, lengths
    ("<think>ça 😀 مرحبا</think><answer>日本</answer>", "ça 😀 مرحبا", "日本", True, 0),
    ("<think>שלום עולם</think><answer>ספר</answer>", "שלום עולם", "ספר", True, 0),
    ("<think>\u202eabc\u202c</think><answer>b</answer>", "\u202eabc\u202c", "b", True, 0),
    ("<think>👩‍👩‍👧</think><answer>e\u0301</answer>", "👩‍👩‍👧", "e\u0301", True, 0),
    ("<think>a\x00b</think><answer>c</answer>", "a\x00b", "c", True, 0),
    ("<think>a\ufffd</think><answer>b</answer>", "a\ufffd", "b", True, 0),
    (f"<think>{LONG}</think><answer>b</answer>", LONG, "b", True, 0),
    (f"<think>a</think><answer>{LONG}</answer>", "a", LONG, True, 0),
    # chat special tokens are text like any other: inside they stay, outside they are charged for
    (WHOLE + "<|im_end|>", "a", "b", True, 10),
    ("<|im_start|>assistant\n" + WHOLE, "a", "b", True, 21),
    (WHOLE + "<|endoftext|><|im_start|>user", "a", "b", True, 29),
    ("<think>a<|im_end|></think><answer>b</answer>", "a<|im_end|>", "b", True, 0),
    ("<|think|>a<|/think|><answer>b</answer>", "", "", False, 38),
    # no tag, or not all
    ("", "", "", False, 0),
    (" \n\t\r\n ", "", "", False, 0),
    ("\x00", "", "", False, 1),
    ("a plain sentence", "", "", False, 16),
    (LONG, "", "", False, 10_000),
    ("<think>a</think>", "", "", False, 16),
    ("<answer>b</answer>", "", "", False, 18),
    ("a</think><answer>b</answer>", "", "", False, 27),
    ("<think>a<answer>b</answer>", "", "", False, 26),
    ("<think>a</think>b</answer>", "", "", False, 26),
    ("think>a</think><answer>b</answer>", "", "", False, 33),
    # cut off
    ("<", "", "", False, 1),
    ("<think", "", "", False, 6),
    ("<think>", "", "", False, 7),
    ("<think>a</thi", "", "", False, 13),
    ("<think>a</think><answer", "", "", False, 23),
    ("<think>a</think><answer>", "", "", False, 24),
    ("<think>a</think><answer>b", "", "", False, 25),
    ("<think>a</think><answer>b</answer", "", "", False, 33),
    (f"<think>{LONG}", "", "", False, 10_007),
    # nothing that can be seen in a part
    ("<think></think><answer>b</answer>", "", "", False, 33),
    ("<think>a</think><answer></answer>", "", "", False, 33),
    ("<think> \n</think><answer>b</answer>", "", "", False, 35),
    ("<think>a</think><answer>\t </answer>", "", "", False, 35),
    ("<think>\r\n</think><answer>\u00a0</answer>", "", "", False, 35),
    ("<think></think><answer></answer>", "", "", False, 32),
    ("<think>\x00</think><answer>b</answer>", "", "", False, 34),
    ("<think>a</think><answer>\u200b</answer>", "", "", False, 34),
    ("<think>\u200f \u202e</think><answer>b</answer>", "", "", False, 36),
    # another order
    ("<answer>b</answer><think>a</think>", "", "", False, 34),
    ("</think>a<think><answer>b</answer>", "", "", False, 34),
    ("<think>a</think></answer>b<answer>", "", "", False, 34),
    ("</answer></think><think>a<answer>b", "", "", False, 34),
    # nested
    ("<think><answer>b</answer></think>", "", "", False, 33),
    ("<think>a<answer>b</think></answer>", "", "", False, 34),
    ("<answer><think>a</think>b</answer>", "", "", False, 34),
    ("<think>a</think><answer><think>b</answer>", "", "", False, 41),
    ("<think><think>a</think></think><answer>b</answer>", "", "", False, 49),
    # repeated
    ("<think>a<think>b</think><answer>c</answer>", "", "", False, 42),
    ("<think>a</think></think><answer>c</answer>", "", "", False, 42),
    (WHOLE + "</answer>", "", "", False, 43),
    ("<think>a</think><answer><answer>b</answer>", "", "", False, 42),
    ("<think>a</think><think>b</think><answer>c</answer>", "", "", False, 50),
    (WHOLE + "<answer>c</answer>", "", "", False, 52),
    (WHOLE + WHOLE, "", "", False, 68),
    (WHOLE + "<think>", "", "", False, 41),
    # other letters: capitals, spaces, attributes, twins
    ("<Think>a</Think><Answer>b</Answer>", "", "", False, 34),
    ("<THINK>a</THINK><ANSWER>b</ANSWER>", "", "", False, 34),
    ("<think>a</THINK><answer>b</answer>", "", "", False, 34),
    ("< think>a</ think>< answer>b</ answer>", "", "", False, 38),
    ("<think >a</think ><answer >b</answer >", "", "", False, 38),
    ("<think>a< /think><answer>b</answer>", "", "", False, 35),
    ('<think class="x">a</think><answer>b</answer>', "", "", False, 44),
    ("<think>a</think><answer id=1>b</answer>", "", "", False, 39),
    ("<think/>a<answer>b</answer>", "", "", False, 27),
    ("<think>a</think><answer>b<answer/>", "", "", False, 34),
    ("<thinking>a</thinking><answer>b</answer>", "", "", False, 40),
    ("＜think＞a＜/think＞＜answer＞b＜/answer＞", "", "", False, 34),
    ("&lt;think&gt;a&lt;/think&gt;<answer>b</answer>", "", "", False, 46),
    ("[think]a[/think][answer]b[/answer]", "", "", False, 34),
    ("<thi\x00nk>a</think><answer>b</answer>", "", "", False, 35),
    # tags inside a title that was not made harmless
    ("<think>bought Game </think> Set</think><answer>b</answer>", "", "", False, 57),
    ("<think>a</think><answer>Book of <answer>s</answer>", "", "", False, 50),
    ("<think>a</think><answer>The </think> Cup</answer>", "", "", False, 49),
]


def test_the_table_is_long_enough_and_holds_no_string_twice():
    texts = [text for text, *_ in TABLE]
    assert len(set(texts)) == len(texts) >= 40


@pytest.mark.parametrize(("text", "thought", "answer", "well_formed", "outside"), TABLE)
def test_table(text, thought, answer, well_formed, outside):
    assert parse(text) == Parsed(thought, answer, well_formed=well_formed, outside=outside)


def test_cut_off_anywhere_it_is_broken_and_all_outside():
    for end in range(len(WHOLE)):
        assert parse(WHOLE[:end]) == Parsed("", "", well_formed=False, outside=end)


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


@pytest.mark.parametrize(
    ("thought", "answer"), [("", "b"), ("a", " "), ("a</think>", "b"), ("a", "<answer>b"), ("a", "\x00")]
)
def test_text_that_would_break_the_format_is_not_rendered(thought, answer):
    with pytest.raises(ValueError, match="without tags"):
        render(thought, answer)


@given(st.text())
def test_neutralised_text_holds_no_markup_quote_or_control(text):
    calm = neutralise(text)
    assert not set(calm) & set('<>"\n\t\r\x00')
    assert neutralise(calm) == calm
