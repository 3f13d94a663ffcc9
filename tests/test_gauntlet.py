"""Wrong engines are found, the right one is not; `python tests/gauntlet.py` has a hundred repetitions of each."""

from pathlib import Path

import numpy as np
import pytest
from gauntlet import MUTANTS, OTHERWISE, RIGHT, repeat


@pytest.mark.parametrize("name", MUTANTS)
def test_a_wrong_engine_is_found(name: str) -> None:
    assert repeat(MUTANTS[name], 1, np.random.default_rng(1)) == 1


@pytest.mark.parametrize("name", RIGHT)
def test_the_right_engine_is_not(name: str) -> None:
    assert repeat(RIGHT[name], 1, np.random.default_rng(1)) == 0


def test_what_no_audit_finds_names_the_test_that_does() -> None:
    tests = Path(__file__).parent
    for where in OTHERWISE.values():
        file = where.split("tests/")[1].split(",")[0]
        assert (tests / file).is_file()
