# SPDX-License-Identifier: MIT
"""Random programs behave on Neve as on stock.  NEVE_FUZZ_RUNS is the number of programs (default
60), NEVE_FUZZ_FIRST the first seed."""

import os

import pytest
import random_program

RUNS = int(os.environ.get("NEVE_FUZZ_RUNS") or 60)
FIRST = int(os.environ.get("NEVE_FUZZ_FIRST") or 0)


@pytest.mark.parametrize("seed", range(FIRST, FIRST + RUNS))
def test_random_programs(runner, seed):
    path = runner.folder / "program.py"
    path.write_text(random_program.generate(seed))
    stock = runner.both(path)
    assert stock.status == 0, stock
    if random_program.is_automatic(seed):
        stressed = runner.neve(path, env={"NEVE_GC_STRESS": "1"})
        assert stressed.text() == stock.text()


def test_programs_depend_on_the_seed_only():
    assert random_program.generate(5) == random_program.generate(5) != random_program.generate(6)
