"""Both catalogues are whole, and templates ask for nothing that is not there."""

from __future__ import annotations

import re
from importlib import resources
from string import Formatter

import pytest

from sipgate.console.texts import CATALOGUES, Words, language_for

TEMPLATES = {
    file.name: file.read_text(encoding="utf-8")
    for file in resources.files("sipgate.console").joinpath("templates").iterdir()
    if file.name.endswith(".html")
}
STYLES = resources.files("sipgate.console").joinpath("static/console.css").read_text(encoding="utf-8")


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def test_both_languages_have_the_same_keys_and_places() -> None:
    english, french = CATALOGUES["en"], CATALOGUES["fr"]
    assert english.keys() == french.keys()
    assert {key: fields(text) for key, text in english.items()} == {key: fields(text) for key, text in french.items()}


@pytest.mark.parametrize("template", sorted(TEMPLATES))
def test_every_text_that_a_template_names_exists(template: str) -> None:
    named = set(re.findall(r"""\bt\(\s*["']([a-z_0-9.]+)["']\s*[,)]""", TEMPLATES[template]))
    assert named <= CATALOGUES["en"].keys()


@pytest.mark.parametrize("template", sorted(TEMPLATES))
def test_no_template_has_inline_script_or_style_or_a_picture(template: str) -> None:
    text = TEMPLATES[template]
    assert not re.search(r"<style|style=|\bon[a-z]+=|<script(?![^>]* src=)|javascript:", text)
    assert not re.search(r"<img|poster|<canvas|https?://(?!www\.w3\.org)", text)


def test_the_styles_load_nothing() -> None:
    assert "url(" not in STYLES
    assert "@import" not in STYLES


def test_lengths_read_as_people_say_them() -> None:
    words = Words("en")
    assert [words.length(s) for s in (0.2, 59.4, 59.6, 125, 3600 + 7 * 60)] == [
        "0 s",
        "59 s",
        "1 min 00 s",
        "2 min 05 s",
        "1 h 07 min",
    ]


@pytest.mark.parametrize(
    ("chosen", "accepts", "language"),
    [
        (None, None, "en"),
        (None, "fr-CA,fr;q=0.9,en;q=0.8", "fr"),
        (None, "de-DE,de;q=0.9,fr;q=0.5", "fr"),
        ("en", "fr", "en"),
        ("xx", "fr", "fr"),
        (None, ";;,,=", "en"),
    ],
)
def test_the_language_is_the_one_chosen_or_the_browsers(chosen: str | None, accepts: str | None, language: str) -> None:
    assert language_for(chosen, accepts) == language
