"""The counts of sentence lengths that a chapter reads from results/."""

import json
import os
from pathlib import Path

import pytest

from s2s_lib.grammar import generate
from tools.corpus_lengths import count, lengths

FILE = Path(__file__).resolve().parents[2] / "results/multi30k-lengths.json"
LOCAL = Path(os.environ.get("S2S_DATA_DIR") or "missing", "multi30k")


def test_count():
    pairs = generate(40, buckets=((4, 10), (30, 31), (40, 60), (30, 30)))
    found = count(pairs)
    assert found["sentences"] == 40
    assert found["over_30"] == sum(len(p.source) > 30 for p in pairs)
    assert 10 <= found["over_30"] <= 20
    expected = {}
    for pair in pairs:
        key = str(len(pair.source))
        expected[key] = expected.get(key, 0) + 1
    assert found["source_lengths"] == expected
    assert list(map(int, found["source_lengths"])) == sorted(
        map(int, expected)
    )


def test_the_file_fits_together():
    stored = json.loads(FILE.read_text("utf-8"))
    sizes = {"train": 29_000, "valid": 1_014, "test": 1_000}
    assert {k: v["sentences"] for k, v in stored["splits"].items()} == sizes
    for split in stored["splits"].values():
        counts = {int(k): n for k, n in split["source_lengths"].items()}
        assert sum(counts.values()) == split["sentences"]
        over = sum(n for length, n in counts.items() if length > 30)
        assert split["over_30"] == over


@pytest.mark.skipif(
    not (LOCAL / "train.en.gz").exists(),
    reason="Multi30k is not in S2S_DATA_DIR",
)
def test_the_file_is_what_the_command_writes():
    assert json.loads(FILE.read_text("utf-8")) == lengths("multi30k")[1]
