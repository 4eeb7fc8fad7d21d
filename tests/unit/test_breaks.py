"""Every break of `make mutants` still fits the library."""

from pathlib import Path

import pytest

from tests.mutants.breaks import BREAKS

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("one", BREAKS, ids=[one.name for one in BREAKS])
def test_the_break_can_be_made(one):
    path = ROOT / "s2s_lib" / f"{one.module}.py"
    count = path.read_text("utf-8").count(one.right)
    assert count == 1, (
        f"{one.right!r} stands {count} times in {path.name} instead of once: "
        "write the break anew"
    )
    assert one.wrong != one.right
    for name in one.tests:
        assert (ROOT / f"tests/unit/test_{name}.py").is_file()


def test_no_two_breaks_have_one_name():
    assert len({one.name for one in BREAKS}) == len(BREAKS)
