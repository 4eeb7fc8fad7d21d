"""nbval forgives the number after ≈, and nothing else. Tried with nbval."""

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from tools.hygiene import GLUED
from tools.notebooks import normalise

CONFIG = Path(__file__).resolve().parents[1] / "sanitize.cfg"
# nbval reads its file with this expression.
PAIRS = re.compile("^regex: (.*)$\n^replace: (.*)$", re.MULTILINE)

SAME = [
    ("≈ 1.25", "≈ 1.26"),
    ("≈ 9.9 nats", "≈ 10.1 nats"),
    ("≈ -0.1", "≈ 0.1"),
    ("≈ −0.1", "≈ 0.1"),
    ("≈ +3", "≈ -3"),
    ("≈ 1e-05", "≈ 2.5e-06"),
    ("≈ 45.3 %", "≈ 45.9 %"),
    ("≈ 45%", "≈ 46%"),
    ("≈ 12,345 tokens", "≈ 9,876 tokens"),
    ("≈    7.1 | ≈  12.3", "≈  12.3 | ≈   7.1"),
    ("≈ 0.12, ≈ 0.15", "≈ 0.13, ≈ 0.14"),
    ("≈1.2", "≈ 1.3"),
]
DIFFERENT = [
    ("= 1.25", "= 1.26"),
    ("1.25", "1.26"),
    ("≈ 0.12, 0.15", "≈ 0.12, 0.16"),
    ("≈ 12, 345", "≈ 12, 346"),
    ("≈ 1.5 of 20", "≈ 1.5 of 21"),
    ("≈ 1.5 %", "≈ 1.5 s"),
    ("≈ nan", "≈ 1.0"),
    ("≈ inf", "≈ 1.0"),
    ("≈ 1.5 at 0x7f3a2b1c", "≈ 1.5 at 0x7f3a2b1d"),
    ("BLEU ≈ 12", "BLEU = 12"),
    ("0.5 ≈ 0.5", "0.6 ≈ 0.5"),
]


def sanitized(text: str) -> str:
    pairs = PAIRS.findall(CONFIG.read_text(encoding="utf-8"))
    assert len(pairs) == 1
    for pattern, replacement in pairs:
        text = re.sub(pattern, replacement, text)
    return text


@pytest.mark.parametrize(("stored", "fresh"), SAME)
def test_a_number_after_the_sign_may_differ(stored, fresh):
    assert sanitized(stored) == sanitized(fresh)


@pytest.mark.parametrize(("stored", "fresh"), DIFFERENT)
def test_nothing_else_may_differ(stored, fresh):
    assert sanitized(stored) != sanitized(fresh)


def glue_output(text: str):
    prefix = "application/papermill.record/"
    scrapbook = {"name": "bleu", "mime_prefix": prefix}
    return new_output(
        "display_data",
        {GLUED: repr(text)},
        metadata={"scrapbook": scrapbook},
    )


def printed(text: str):
    return new_output("stream", name="stdout", text=text)


IMPORT = "from s2s_lib.page import glue\n"


@pytest.mark.slow
def test_nbval_itself_keeps_the_two_signs(tmp_path):
    cells = [
        ('print("= 1.5")', printed("= 1.5\n")),
        ('print("= 1.5")', printed("= 1.6\n")),
        ('print("≈ 1.5")', printed("≈ 1.6\n")),
        (IMPORT + 'glue("bleu", "12.3")', glue_output("12.3")),
        (IMPORT + 'glue("bleu", "12.3")', glue_output("12.4")),
        (IMPORT + 'glue("bleu", "≈ 12.3")', glue_output("≈ 12.4")),
        ("print(object())", printed("<object object at 0x7f3a2b1c4d50>\n")),
    ]
    nb = new_notebook(
        cells=[
            new_code_cell(code, execution_count=number, outputs=[output])
            for number, (code, output) in enumerate(cells, 1)
        ]
    )
    path = tmp_path / "signs.ipynb"
    nbformat.write(normalise(nb), path)
    command = [
        *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider"),
        *("--nbval", f"--nbval-sanitize-with={CONFIG}", "-q", "-rA"),
        *("--rootdir", str(tmp_path), str(path)),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, timeout=120
    )
    found = re.findall(r"^(PASSED|FAILED) .*Cell (\d+)", done.stdout, re.M)
    states = {int(number): state for state, number in found}
    assert states == {
        0: "PASSED",
        1: "FAILED",
        2: "PASSED",
        3: "PASSED",
        4: "FAILED",
        5: "PASSED",
        6: "FAILED",
    }, done.stdout
