"""The catalogue of bugs: every mutation fits the code as it is, and the suite kills it."""

from __future__ import annotations

import ast

import pytest
from mutation_catalogue import CATALOGUE, ROWS, Mutation
from run_mutations import ROOT, attempt, unharmed

EACH = pytest.mark.parametrize("mutation", CATALOGUE, ids=lambda one: one.name)


def test_every_row_is_there() -> None:
    assert {one.row for one in CATALOGUE} == set(ROWS)


@EACH
def test_the_text_stands_there_once_and_the_bug_is_python(mutation: Mutation) -> None:
    text = (ROOT / mutation.where).read_text(encoding="utf-8")
    assert text.count(mutation.old) == 1
    assert mutation.new != mutation.old
    ast.parse(text.replace(mutation.old, mutation.new))


@EACH
def test_its_tests_are_there(mutation: Mutation) -> None:
    files = [word for word in mutation.tests if word.endswith(".py")]
    assert files
    assert all((ROOT / file).is_file() for file in files)


@pytest.mark.slow
@pytest.mark.parametrize("tests", list(dict.fromkeys(one.tests for one in CATALOGUE)), ids=str)
def test_the_tests_pass_without_a_bug(tests: tuple[str, ...]) -> None:
    assert not unharmed(tests).killed


@pytest.mark.slow
@EACH
def test_it_is_killed(mutation: Mutation) -> None:
    outcome = attempt(mutation)
    assert outcome.killed, outcome.by


def test_a_change_without_effect_is_no_kill() -> None:
    """The runner itself can say that a mutation survives."""
    harmless = Mutation(
        "none",
        "bayeslmm/errors.py",
        "from __future__ import annotations\n",
        "from __future__ import annotations\n\n",
        ("tests/test_imports.py", "-k", "against_the_order"),
    )
    assert not attempt(harmless).killed
