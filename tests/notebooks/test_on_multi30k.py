"""What a chapter offers with other settings works with them, too.

*A real benchmark* runs on generated sentences, and says that its first
section runs on Multi30k as well, for either pair.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib
import nbformat
import pytest

from s2s_lib import recipes
from s2s_lib.catalogue import RECIPES

ROOT = Path(__file__).resolve().parents[2]
LOCAL = Path(os.environ.get("S2S_DATA_DIR") or "missing", "multi30k")
NEEDS_DATA = pytest.mark.skipif(
    not (LOCAL / "train.en.gz").exists(),
    reason="Multi30k is not in S2S_DATA_DIR",
)
SWITCH = 'CORPUS, PAIR = "generated", "en-fr"'


def cells_of_the_section():
    """The imports, and the code up to the score."""
    path = ROOT / "chapters" / "18_real_benchmark.ipynb"
    cells = nbformat.read(path, 4).cells
    code = [cell.source for cell in cells if cell.cell_type == "code"]
    starts = [i for i, text in enumerate(code) if SWITCH in text]
    ends = [i for i, text in enumerate(code) if "least < plain.score" in text]
    (imports,) = (text for text in code if text.startswith("import json"))
    ((start,), (end,)) = starts, ends
    return [imports, *code[start : end + 1]]


@NEEDS_DATA
@pytest.mark.parametrize("pair", ["en-fr", "en-de"])
def test_the_minute_on_real_sentences(pair, monkeypatch, tmp_path):
    matplotlib.use("Agg")
    monkeypatch.setenv("S2S_CACHE_DIR", str(tmp_path))
    minute = RECIPES["benchmark-minute"]
    few = replace(minute.training, steps=40, evaluate_every=40, warmup=4)
    monkeypatch.setitem(
        recipes.RECIPES, "benchmark-minute", replace(minute, training=few)
    )
    names = {"sys": sys}
    for text in cells_of_the_section():
        text = text.replace(SWITCH, f'CORPUS, PAIR = "multi30k", "{pair}"')
        exec(text, names)
    assert names["corpus"].name == "multi30k"
    assert names["corpus"].target_language == pair.removeprefix("en-")
    assert f"moses-{pair.removeprefix('en-')}" in str(
        names["tokenized"].signature
    )
