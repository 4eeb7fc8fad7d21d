"""The counts of words, and of what is unknown, that a chapter reads."""

import json
import os
from collections import Counter
from itertools import chain, pairwise
from pathlib import Path

import pytest

from s2s_lib import corpora
from s2s_lib.grammar import SentencePair, generate
from s2s_lib.recipes import rounded
from s2s_lib.subwords import WORD_START, SubwordVocabulary
from s2s_lib.vocab import Vocabulary
from tools.counting import stem_of
from tools.unknown_words import by_unknown
from tools.word_counts import (
    POINTS,
    distribution,
    examples,
    log_spaced,
    units,
    vocabularies,
)

RESULTS = Path(__file__).resolve().parents[2] / "results"
LOCAL = Path(os.environ.get("S2S_DATA_DIR") or "missing", "multi30k")
NEEDS_DATA = pytest.mark.skipif(
    not (LOCAL / "train.en.gz").exists(),
    reason="Multi30k is not in S2S_DATA_DIR",
)


def stored(name):
    return json.loads((RESULTS / name).read_text("utf-8"))


@pytest.fixture(scope="module")
def counted():
    return stored("multi30k-words.json")


@pytest.mark.parametrize("last", [1, 2, 59, 60, 10_000])
def test_log_spaced(last):
    ranks = log_spaced(last)
    assert ranks[0] == 1 and ranks[-1] == last
    assert all(a < b for a, b in pairwise(ranks))
    assert len(ranks) <= min(last, POINTS)
    if last == 10_000:
        assert len(ranks) > 45 and ranks[-1] / ranks[-2] < 1.2


def test_distribution_by_hand():
    train = [["a", "b", "a"], ["a", "c"], ["b"]]
    valid = [["a", "d"], ["c", "b", "a", "a"]]
    assert distribution(train, valid) == {
        "tokens": 6,
        "types": 3,
        "once": 1,
        "counts": [[1, 3], [2, 2], [3, 1]],
        "coverage": [[1, 3 / 6], [2, 4 / 6], [3, 5 / 6]],
    }


def test_units_by_hand():
    train = [[["a", "b"]] * 10 + [["c"]], [["x"], ["y"], ["y"]]]
    valid = [[["a", "d"], ["b"]], [["x", "y", "z", "z"], ["x"]]]
    vocabs = [Vocabulary(["a", "b", "c"]), Vocabulary(["x", "y"])]
    found = units(vocabs, train, valid)
    assert found["ids"] == 7 + 6
    assert found["seldom"] == 3 / 5  # c, x, y
    source, target = found["source"], found["target"]
    assert (source["length"], source["unknown"]) == (1.5, 1 / 3)
    assert (source["sentences"], target["sentences"]) == (0.5, 0.5)
    assert target["unknown"] == 2 / 5
    assert source["ceiling"] < 100


def test_a_joint_table_is_counted_once():
    train = [[["ab"]] * 6, [["ab"]] * 6]
    both = SubwordVocabulary.build(chain(*train), 9)
    found = units([both, both], train, train)
    assert found["ids"] == 9
    # Of the five ids that are not special, one is seen: the whole word.
    assert both.encode(["ab"]) == [8] and found["seldom"] == 4 / 5
    assert found["source"]["unknown"] == 0


@pytest.fixture(scope="module")
def small():
    pairs = generate(300)
    return [[list(p.source) for p in pairs], [list(p.target) for p in pairs]]


def test_vocabularies_are_those_of_their_names(small):
    found = vocabularies(small)
    counts = [Counter(chain(*side)) for side in small]
    for name in ("words-1", "words-5"):
        least = int(name.split("-")[1])
        for vocab, count in zip(found[name], counts, strict=True):
            kept = {word for word, n in count.items() if n >= least}
            assert set(vocab.to_list()) == kept
    spelled = found["characters"][0].pieces(["cat"])[0]
    assert spelled == [WORD_START, *"cat"]
    for name, (one, two) in found.items():
        if not name.startswith("words"):
            assert one is two
    assert len(found["subwords-1000"][0]) <= 1000
    shown = examples(found, small[0], [["cat", "zeppelin"], ["the", "zebu"]])
    assert [row["word"] for row in shown] == ["zebu", "zeppelin"]
    assert "".join(shown[0]["characters"]) == WORD_START + "zebu"


def test_no_sentence_has_no_score():
    pair = SentencePair(("b",), ("b",))
    found = by_unknown([["b"]], [pair], {"b"})
    assert found["sentences"] == {"with": 0, "without": 1}
    assert found["bleu"]["with"] is None


def test_how_files_about_a_corpus_begin():
    def stem(name, *languages):
        return stem_of(corpora.ParallelCorpus(name, *languages, [], [], []))

    assert stem("multi30k", "en", "fr") == "multi30k"
    assert stem("multi30k", "en", "de") == "multi30k-en-de"
    assert stem("/a/b.tsv", "en", "fr") == "b.tsv"
    assert stem("a/b.en,a/b.fr", "en", "fr") == "b.en"


def test_scores_with_and_without_unknown_words():
    pairs = [
        SentencePair(
            tuple(s.split()), tuple(t.split()), frozenset(), frozenset()
        )
        for s, t in (("a b c d", "v w x y"), ("a q", "v w x z"))
    ]
    outputs = [["v", "w", "x", "y"], ["v", "<unk>", "o"]]
    found = by_unknown(outputs, pairs, {"a", "b", "c", "d"})
    assert found["sentences"] == {"with": 1, "without": 1}
    assert found["bleu"]["without"] == pytest.approx(100)
    assert found["bleu"]["with"] < 50
    assert (found["words"], found["holes"]) == (1 / 7, 1 / 2)


def test_the_counts_fit_together(counted):
    lengths = stored("multi30k-lengths.json")
    assert counted["corpus_fingerprint"] == lengths["corpus_fingerprint"]
    valid = lengths["splits"]["valid"]
    tokens = sum(int(k) * n for k, n in valid["source_lengths"].items())
    for side in (counted["source"], counted["target"]):
        counts = [n for _, n in side["counts"]]
        shares = [share for _, share in side["coverage"]]
        assert counts == sorted(counts, reverse=True) and counts[-1] == 1
        assert shares == sorted(shares) and shares[-1] < 1
        assert side["counts"][-1][0] == side["types"] > side["once"]
    for name, unit in counted["units"].items():
        if name.startswith("words"):
            mean = unit["source"]["length"]
            assert mean == pytest.approx(tokens / valid["sentences"], rel=1e-5)
        else:
            assert unit["source"]["unknown"] == 0
            assert unit["target"]["ceiling"] == pytest.approx(100)
    one = counted["units"]["words-1"]
    for side in ("source", "target"):
        missed = 1 - counted[side]["coverage"][-1][1]
        assert one[side]["unknown"] == pytest.approx(missed, abs=1e-5)


def test_the_scores_are_of_the_counted_sentences(counted):
    found = stored("multi30k-unknown.json")
    assert found["corpus_fingerprint"] == counted["corpus_fingerprint"]
    share = counted["units"]["words-1"]["source"]["sentences"]
    for model in found["models"].values():
        groups = model["sentences"]
        assert groups["with"] / sum(groups.values()) == pytest.approx(
            share, abs=1e-5
        )


@pytest.mark.data
@NEEDS_DATA
def test_the_file_is_what_the_command_writes(counted):
    """All but the slow part, what most vocabularies of pieces give."""
    corpus = corpora.multi30k("en-fr")
    assert corpus.fingerprint() == counted["corpus_fingerprint"]
    train, valid = (
        [[p.source for p in split], [p.target for p in split]]
        for split in (corpus.train, corpus.valid)
    )
    for side, one, other in zip(
        ("source", "target"), train, valid, strict=True
    ):
        assert rounded(distribution(one, other)) == counted[side]
    vocabs = [Vocabulary.build(side, 3) for side in train]
    found = rounded(units(vocabs, train, valid))
    assert found == counted["units"]["words-3"]
    both = SubwordVocabulary.build(chain(*train), 1000)
    for row in counted["examples"]:
        assert both.pieces([row["word"]])[0] == row["subwords-1000"]
