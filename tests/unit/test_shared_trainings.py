"""Trainings of the book come out as their results files say.

These are those that later chapters load. They run while another process is
busy with the earlier chapters (see `conftest.py`), and are then in the cache.
"""

import subprocess
import sys

import pytest

from s2s_lib import recipes

NAMES = ("transformer", "captions-plain", "captions-attention")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_training_comes_out_as_its_results_file_says(name):
    # In a process of its own: with the checks of this one it takes longer.
    code = f"from s2s_lib import recipes; recipes.train({name!r})"
    subprocess.run([sys.executable, "-c", code], check=True)
    trained = recipes.train(name, seed=0, progress=False)
    (stored,) = (r for r in recipes.load_results(name) if r["seed"] == 0)
    here, there = trained.history, stored["history"]
    assert [row["step"] for row in here] == [row["step"] for row in there]
    # Rounding differs between processors, and grows with every update: at the
    # end the same seed may be as far off as another one.
    assert here[0]["loss"] == pytest.approx(there[0]["loss"], rel=0.02)
    assert here[1]["loss"] == pytest.approx(there[1]["loss"], rel=0.05)
    assert here[-1]["loss"] == pytest.approx(there[-1]["loss"], rel=0.4)
    assert here[-1]["valid_bleu"] == pytest.approx(
        there[-1]["valid_bleu"], abs=8
    )
