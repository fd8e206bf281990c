"""The admins' file: read whole or not at all, every fault by file and line, no line in any message."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sipgate.core.lines import SelectorSet, identities_of, parse_selector
from sipgate.errors import ConfigurationError
from sipgate.register.exclusions_file import FileLine, read_exclusions


def read(folder: Path, text: str) -> tuple[FileLine, ...]:
    path = folder / "exclusions.txt"
    path.write_text(text, encoding="utf-8")
    return read_exclusions(path, "FR")


def test_a_row_is_one_line_by_all_its_identities_with_a_comment(tmp_path: Path) -> None:
    rows = read(
        tmp_path,
        "# never recorded\n\n2100, +33 1 42 68 53 00, sip:cse@corp.example   # works council\n"
        "  21xx\n2200-2299 # a range\n",
    )
    assert [(row.number, row.text, row.note) for row in rows] == [
        (3, "2100, +33 1 42 68 53 00, sip:cse@corp.example", "works council"),
        (4, "21xx", ""),
        (5, "2200-2299", "a range"),
    ]
    assert [str(one) for one in rows[0].selectors] == ["2100", "+33142685300", "sip:cse@corp.example"]
    listed = SelectorSet(one for row in rows for one in row.selectors)
    for uri in ("sip:2100@pbx", "tel:0142685300", "sip:CSE@corp.example", "2250", "2111"):
        assert listed.might_match(identities_of(uri, "FR")), uri
    assert not listed.might_match(identities_of("sip:2001@pbx", "FR"))


def test_a_line_by_one_identity_only_is_warned_of_and_protected(tmp_path: Path) -> None:
    rows = read(tmp_path, "2100\n21xx\n2200-2299\n2100, 0142685300\n")
    assert [len(row.warnings) for row in rows] == [1, 0, 0, 0]
    assert (
        rows[0]
        .warnings[0]
        .endswith("exclusions.txt:1: one identity only: add the line's other numbers and addresses, if it has any")
    )
    assert rows[0].selectors == (parse_selector("2100", "FR"),)


def test_an_empty_file_protects_nobody_and_is_no_fault(tmp_path: Path) -> None:
    assert read(tmp_path, "") == read(tmp_path, "# nobody yet\n") == ()


def test_windows_editors_are_understood(tmp_path: Path) -> None:
    path = tmp_path / "exclusions.txt"
    path.write_bytes(b"\xef\xbb\xbf2100, 2101\r\n2102, 2103\r\n")
    assert [len(row.selectors) for row in read_exclusions(path, "FR")] == [2, 2]


@pytest.mark.parametrize(
    "row", ["canary", "2100,", "2999-2000", "2100-21000", "2100 2101 canary", "sip:@canary", "2100, canary", "*"]
)
def test_one_wrong_row_refuses_the_whole_file_by_its_number_and_repeats_none_of_it(tmp_path: Path, row: str) -> None:
    with pytest.raises(ConfigurationError) as found:
        read(tmp_path, f"2100, 2101\n# fine\n{row}\n2102, 2103\n")
    assert f"{tmp_path / 'exclusions.txt'}:3: " in str(found.value)
    assert "canary" not in str(found.value)
    assert "2100" not in str(found.value).replace("2000-2999", "")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.txt: the exclusions cannot be read: No such file"):
        read_exclusions(tmp_path / "none.txt", "FR")
    with pytest.raises(ConfigurationError, match="Is a directory"):
        read_exclusions(tmp_path, "FR")
    (tmp_path / "latin.txt").write_bytes(b"2100 # pr\xe9sident\n")
    with pytest.raises(ConfigurationError, match=r"latin\.txt: the exclusions are not UTF-8"):
        read_exclusions(tmp_path / "latin.txt", "FR")


def test_no_repr_shows_a_line(tmp_path: Path) -> None:
    (row,) = read(tmp_path, "2100, +33142685300 # canary")
    assert not any(word in repr(row) for word in ("2100", "142685300", "canary"))


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=200))
def test_any_text_is_read_or_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "exclusions.txt"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        rows = read_exclusions(path, "FR")
    except ConfigurationError as error:
        refused = str(error)
    else:
        refused = f"{path}: read"
        assert all(row.selectors for row in rows)
    assert refused.startswith(f"{path}:")
