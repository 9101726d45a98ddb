"""Patterns of fields: what RE2 makes of them, and that no text and no pattern costs more than its length (N7)."""

from __future__ import annotations

import re
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.patterns import PatternRefusedError, compile_pattern


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        (r"(a)\1", r"refused at '\1': a back reference cannot"),
        (r"(.)(.)(.)(.)(.)(.)(.)(.)(.)(.)\10", "a back reference cannot"),  # RE2 would read an octal number
        (r"(?P<twice>a)(?P=twice)", "a back reference cannot"),
        (r"a(?=b)b", "look-around cannot"),
        (r"(?<!a)b", "look-around cannot"),
        (r"(?>a+)b", r"write (?: instead"),
        (r"(a)?(?(1)b|c)", "write both cases"),
        (r"(?x)a b", "flags are i, m, s and U"),
        (r"a++b", "leave out the last +"),
        (r"\N{BULLET}", r"its number as \x{4e00}"),
        (r"\Aa\Z", "the whole text must match anyway"),
        (r"a{,5}", "write {0,5}, or \\{"),
        (r"a{1,1001}", "a repeat counts to 1000 at most"),
        (r"(a{100}){100}", "a repeat counts to 1000 at most"),
        (r"\p{L}{1,1000}", "smaller numbers in its braces"),
        ("(", "not a valid regular expression (RE2): missing ) at '('"),
        ("[b-a]", "not a valid regular expression"),
        (r"\q", r"not a valid regular expression (RE2): invalid escape sequence at '\q'"),
        ("\udcff", "half of a surrogate pair"),
        ("a" * 501, "longer than 500 characters"),
    ],
)
def test_what_cannot_be_matched_in_linear_time_is_refused_with_what_to_do(pattern, said):
    with pytest.raises(PatternRefusedError) as refused:
        compile_pattern(pattern)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("pattern", ["(\n", "(" + "é" * 300, "[\x00"])
def test_a_refusal_is_one_short_line(pattern):
    with pytest.raises(PatternRefusedError) as refused:
        compile_pattern(pattern)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize(
    "pattern",
    [r"\{,5}", r"a{0,5}", r"\\{0,5}", r"\x{4e00}", r"[\x{4e00}-\x{9fa5}]", r"(?i)a|b", r"(?P<n>a)", r"\p{Han}{2,50}"],
)
def test_what_replaces_it_is_taken(pattern):
    compile_pattern(pattern)


RUN_AWAY = [  # what a matcher that tries way after way does not come back from
    "(a+)+b",
    "(a|ab|b)*c",
    "(a|aa)+$",
    "(.*a){20}",
    "(a*)*b",
    "(x+x+)+y",
    r"(\w+\s?)+",
    "a*a*a*a*a*b",
    "a?" * 30 + "a" * 30,
]
ORDINARY = [
    r"[a-z0-9-]+",
    r"\+86\d{11}",
    "a|b|c",
    "(ab)?c{2,5}",
    r"^[^@\s]+@[^@\s]+\.[^@\s]+$",
    r"\w+([-+.]\w+)*@\w+([-.]\w+)*\.\w+([-.]\w+)*",
    r"[\w.+-]+@[\w-]+(\.[\w-]+)+",
    r"https?://[^/]+(/.*)?",
    r"([A-Z0-9]+-)*[A-Z0-9]+",
    r"(\S+\s+)*\S+",
    "(foo|bar)+(x|yz)*",
    "(?i)(ab|Ä|ß)*x?.*",
]


@pytest.mark.parametrize("pattern", [*RUN_AWAY, *ORDINARY])
def test_a_long_text_takes_its_length_in_time(pattern):
    matches = compile_pattern(pattern)
    started = time.process_time()
    for text in ("a" * 99_999 + "!", "a@" * 50_000, "a@a." + "." * 90_000, "x@" + "a." * 49_900, " a" * 50_000):
        matches(text)
    assert time.process_time() - started < 0.5


@pytest.mark.parametrize(
    "pattern",
    [".{0,600}x.{0,600}", r"(\p{L}+\p{Han}?){50}", "(?:[^@]{0,300}@?){3}!", "(a?){900}a*b", r"(?i)(\w?\W?){300}~"],
)
def test_a_pattern_beyond_its_memory_is_slower_but_never_slow(pattern):
    matches = compile_pattern(pattern)
    started = time.process_time()
    for text in ("a" * 1000, "中" * 1000, "\U00020000" * 1000, "a@x中" * 250):
        matches(text)
    assert time.process_time() - started < 1


def test_re2_never_logs_by_itself(capfd):
    for pattern in ("(", r"(a)\1", r"\p{L}{1,1000}"):
        with pytest.raises(PatternRefusedError):
            compile_pattern(pattern)
    compile_pattern("(a?){900}a*b")("a" * 1000)  # more states than the memory holds
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        (".", "\U0001f642", True),
        (".{3}", "中\U0001f642é", True),
        (".", "e\u0301", False),
        (r"[^\x00]+", "a\0b", False),
        ("a.b", "a\0b", True),
        ("a\0b", "a\0b", True),
        (".*", "\ud83d", False),
        (".*", "\udc80\ud83d", False),
        ("a", "xa", False),
        ("a", "ax", False),
        ("a|ab", "ab", True),
        ("a$", "a\n", False),
        (".*", "a\nb", False),
        ("(?s).*", "a\nb", True),
        ("", "", True),
        ("(?i)straße", "STRAßE", True),
        (r"[\w ]+", "a_1 Z", True),
        # RE2 knows ASCII by these, Python's re all of Unicode.
        (r"\d", "３", False),
        (r"\p{Nd}", "３", True),
        (r"\w+", "张三", False),
        (r"\p{Han}+", "张三", True),
        (r"[\p{L}\p{N}_]+", "张三3", True),
        (r"\s", "\u3000", False),
        (r"\S", "\u3000", True),
    ],
)
def test_texts_are_matched_whole_and_by_characters(pattern, text, expected):
    assert compile_pattern(pattern)(text) is expected


def test_a_pattern_compiled_before_a_fork_matches_after_it():
    program = """
import os
from transforms.patterns import compile_pattern
matches = compile_pattern("[^@]+@[^@]+")
assert matches("a@b")
pid = os.fork()
fine = matches("c@d") and not matches("c") and compile_pattern("x+")("xx")
if pid == 0:
    os._exit(7 if fine else 1)
print(fine, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert said.stdout == "True 7\n"


ATOMS = st.sampled_from(
    ["a", "b", "A", ".", "[ab]", "[^a]", r"\d", r"\w", r"\s", r"\S", r"[^@\s]", "[a-z0-9_.-]", r"\.", "@", "-", " ", "(?:)"]
)  # fmt: skip


def grown(inner):
    return st.one_of(
        st.lists(inner, min_size=2, max_size=3).map("".join),
        st.lists(inner, min_size=2, max_size=3).map(lambda branches: f"({'|'.join(branches)})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "*?", "{2}", "{0,2}", "{1,}"])).map(
            lambda of: f"({of[0]}){of[1]}"
        ),
    )


@given(st.recursive(ATOMS, grown, max_leaves=5), st.text("abAZ@.-_ \n\t019\0", max_size=7))
def test_re2_and_python_agree_on_ascii(pattern, text):
    assert compile_pattern(pattern)(text) is (re.fullmatch(pattern, text) is not None)


@pytest.mark.parametrize("pattern", ORDINARY)
@given(st.text("abAxyzf@.-/: \n019+", max_size=9))
def test_ordinary_patterns_match_what_python_matches(pattern, text):
    assert compile_pattern(pattern)(text) is (re.fullmatch(pattern, text) is not None)


@pytest.mark.parametrize(
    ("pattern", "matched", "refused"),
    [
        (r"[\u4e00-\u9fa5]+", "会员", "member"),
        (r"\U0001F642?", "🙂", "U0001F642"),
        (r"\\u4e00", r"\u4e00", "一"),  # an escaped backslash, and letters
        (r"[\p{L}\p{N}_ ]{1,200}", "李 lei_1" * 20, ""),
    ],
)
def test_characters_by_their_numbers_and_bounded_letters_are_taken(pattern: str, matched: str, refused: str) -> None:
    matches = compile_pattern(pattern)
    assert matches(matched)
    assert not matches(refused)
