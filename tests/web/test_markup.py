"""HTML that cannot forget to escape, and times that a person can read."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from runledger.types import Undecodable
from runledger.web._markup import BODY_CHARACTERS, body, cut, el, pre, span, text, url, when

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def test_text_is_escaped_and_markup_is_not():
    inner = el("b", "<&\"'>")
    assert inner == "<b>&lt;&amp;&quot;&#x27;&gt;</b>"
    assert el("p", inner, ["<", None, 1234]) == "<p><b>&lt;&amp;&quot;&#x27;&gt;</b>&lt;1,234</p>"


def test_attributes_are_escaped_and_may_be_left_out():
    assert el("a", href='"><script>', title=None, hidden=True, disabled=False, aria_label="x") == (
        '<a href="&quot;&gt;&lt;script&gt;" hidden aria-label="x"></a>'
    )
    assert el("input", type_="text", cls="c", value=7) == '<input type="text" class="c" value="7">'


@pytest.mark.parametrize(("char", "shown"), [
    ("\x00", "\\x00"), ("\x1b", "\\x1b"), ("\n", "\\n"), ("\r", "\\r"), ("\u202e", "\\u202e"), ("\u2028", "\\u2028"),
    ("\U000e0001", "\\U000e0001"), ("\x85", "\\x85"), ("é", "é"), ("電", "電"), ("😀", "😀"),
])  # fmt: skip
def test_characters_that_steer_are_shown_and_others_kept(char: str, shown: str):
    assert text(f"a{char}b") == f"a{shown}b"
    assert pre(f"a{char}b") == f"<pre>a{shown if char != chr(10) else char}b</pre>"


def test_a_body_is_json_to_read_and_bounded():
    assert json.loads(body({"a": ["ü", None]}).removeprefix('<pre class="json" tabindex="0">').removesuffix("</pre>")
                      .replace("&quot;", '"')) == {"a": ["ü", None]}  # fmt: skip
    assert "<script>" not in body("<script>")
    large = body("x" * (BODY_CHARACTERS + 100))
    assert "102 more characters" in large
    assert len(large) < BODY_CHARACTERS + 200
    assert "Not shown as JSON: too deep" in body(Undecodable("too deep", "[[["))


@pytest.mark.parametrize(("seconds", "words"), [
    (0, "0s"), (0.0214, "21ms"), (1, "1.0s"), (59.6, "1m"), (61, "1m 1s"), (3599.7, "1h"), (7260, "2h 1m"),
    (86400, "1d"), (90000, "1d 1h"), (-75, "-1m 15s"), (86400 * 400, "400d"), (None, "—"),
])  # fmt: skip
def test_a_span_has_two_units_at_most(seconds: float | None, words: str):
    assert span(seconds) == words


def test_an_instant_is_told_from_now_and_in_full():
    assert when(NOW - timedelta(minutes=3), NOW) == (
        '<time datetime="2026-03-01T11:57:00+00:00" title="2026-03-01 11:57:00 UTC">3m ago</time>'
    )
    assert ">in 2h<" in when(NOW + timedelta(hours=2), NOW)
    assert ">now<" in when(NOW, NOW)


def test_long_words_keep_their_end_in_the_tooltip():
    assert cut("short", 10) == "short"
    assert cut("x" * 20, 10) == f'<span title="{"x" * 20}">{"x" * 10}…</span>'


def test_addresses_are_encoded():
    assert url("/type", name="a b&c=<d>", none=None, empty="") == "/type?name=a+b%26c%3D%3Cd%3E"
