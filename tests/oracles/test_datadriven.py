"""The reader of public test data loses nothing: a lost case would count as passed."""

import pytest

from tests.oracles.datadriven import Case, parse, parse_command


def test_a_case_has_command_input_and_output() -> None:
    """Comments and blank lines stand between cases, never inside one."""
    text = "# why\n\ndo this to=(1, 2) now\nwith\nthis\n----\nout 1\nout 2\n\n# next\ndo\n----\nok"

    assert list(parse(text, "f.txt")) == [
        Case(
            "f.txt:3",
            "do",
            {"this": None, "to": ("1", "2"), "now": None},
            "with\nthis",
            "out 1\nout 2",
        ),
        Case("f.txt:11", "do", {}, "", "ok"),
    ]


def test_output_with_blank_lines_is_fenced() -> None:
    """A second rule opens such output, two rules close it."""
    (first, second) = parse("a\n----\n----\none\n\ntwo\n----\n----\n\nb\n----\nok\n", "f.txt")

    assert first.expected == "one\n\ntwo"
    assert second.command == "b"


@pytest.mark.parametrize(
    ("line", "arguments"),
    [
        ("vote", {}),
        ("vote cfg=(1) votes=(_)", {"cfg": ("1",), "votes": ("_",)}),
        ("vote cfg=( 1 ,2 )cfgj=zero", {"cfg": ("1", "2"), "cfgj": ("zero",)}),
        ("vote cfg=()", {"cfg": ()}),
        ("deliver 1 2 drop=(3)", {"1": None, "2": None, "drop": ("3",)}),
    ],
)
def test_arguments_are_names_or_lists(
    line: str, arguments: dict[str, tuple[str, ...] | None]
) -> None:
    """Spaces may stand inside parentheses."""
    assert parse_command(line, "f.txt:1")[1] == arguments


@pytest.mark.parametrize(
    "text",
    [
        "vote cfg=(1\n----\nok",
        "vote\nno rule",
        "vote cfg=(1) cfg=(2)\n----\nok",
        "a\n----\n----\nx",
    ],
)
def test_what_does_not_parse_is_refused(text: str) -> None:
    """It names the place instead of passing over the case."""
    with pytest.raises(ValueError, match=r"f\.txt:1|no end"):
        list(parse(text, "f.txt"))
