"""Kinds of errors by hand, wrong scores, and the file that a chapter reads."""

import gzip
import json
import os
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from s2s_lib import corpora, errors
from s2s_lib.grammar import SentencePair
from s2s_lib.metrics import bleu, bleu_counts, tokenized_bleu
from s2s_lib.vocab import tokenize
from tools import translation_errors

RESULTS = Path(__file__).resolve().parents[2] / "results"
LOCAL = Path(os.environ.get("S2S_DATA_DIR") or "missing", "multi30k")
NEEDS_DATA = pytest.mark.skipif(
    not (LOCAL / "test_2016_flickr.en.gz").exists(),
    reason="Multi30k is not in S2S_DATA_DIR",
)
SOURCE = tokenize("two black cats sleep on the bench.")
REFERENCE = tokenize("deux chats noirs dorment sur le banc.")


@pytest.mark.parametrize(
    ("output", "kind"),
    [
        ("deux chats noirs dorment sur le banc .", "exact"),
        ("deux chats noirs dorment sur le chats .", "repeated"),
        ("deux chats banc dorment sur le banc .", "repeated"),
        ("deux chats noirs dorment sur le sur .", "one place"),  # short words
        ("deux chats noirs dorment sur le bench .", "copied"),
        ("deux chats noirs dorment sur le bancou .", "new word"),
        ("trois chats noirs dorment sur le banc .", "number"),
        ("deux chats noires dorment sur le banc .", "one place"),  # a form
        ("deux chats noircissants dorment sur le banc .", "colour"),
        ("deux chats verts dorment sur le banc .", "colour"),
        ("deux chats noirs dorment .", "short"),
        ("deux chats noirs dorment le banc .", "one place"),  # long enough
        ("deux chats noirs de la rue dorment sur le banc .", "other"),
        ("deux chats noirs couchent sur un banc .", "other"),
        ("deux chats noirs couchent vite sur le banc .", "one place"),
        ("sur le banc dorment deux chats noirs .", "other"),
        # The first rule that holds is the kind.
        ("trois trois bench verts", "repeated"),
        ("trois bench verts", "copied"),
        ("trois chats verts", "number"),
    ],
)
def test_the_kind_of_a_sentence(output, kind):
    found = errors.kind_of(
        SOURCE, output.split(), REFERENCE, "fr", {"bench", "bancou"}
    )
    assert found == kind and kind in errors.KINDS


def test_what_the_reference_has_is_no_error():
    """A word may come twice if it does there, and be new if it is there."""
    words = ["chats", "chats", "bench"]
    longer = [*words, "le", "la"]
    kind = errors.kind_of(SOURCE, words, longer, "fr", {"bench"})
    assert kind == "short"


@pytest.mark.parametrize(
    ("left", "right", "counts"),
    [
        ("a b c", "a b c", (0, 0)),
        ("a x c", "a b c", (1, 1)),
        ("a c", "a b c", (0, 1)),
        ("a b b c", "a b c", (1, 0)),
        ("x", "a b c", (1, 3)),
        ("", "a b", (0, 2)),
        ("a b", "", (2, 0)),
        ("a a", "a", (1, 0)),
    ],
)
def test_how_far_two_sentences_are_apart(left, right, counts):
    assert errors.apart(left.split(), right.split()) == counts


def test_german_forms_of_a_colour_and_numbers():
    words = tokenize("zwei schwarze und drei blauen hunde, zwei rosa")
    assert errors.colours(words, "de") == {"schwarz": 1, "blau": 1, "rosa": 1}
    assert errors.numbers(words, "de") == {"zwei": 2, "drei": 1}


def test_scores_of_one_output_in_right_and_wrong_ways():
    outputs = ["l'homme dort aujourd'hui.", "un chien court ici."] * 5
    cased = ["L'homme dort bien aujourd'hui.", "Un chien court ici."] * 5
    lower = [text.lower() for text in cased]
    found = errors.scores(outputs, cased, "fr")
    right = list(found)[:2]
    assert right == ["tokenised by Moses", "sacreBLEU"]
    assert found[right[0]] == tokenized_bleu(outputs, lower, "fr").score
    assert found[right[1]] == bleu(outputs, lower).score
    for way in (
        "capitals in the references",
        "typographic apostrophes",
        "outputs left in tokens",
        "one line lost",
    ):
        assert found[way] < found["sacreBLEU"] - 1, way
    assert found["tokenised twice"] > found["sacreBLEU"] + 1
    perfect = errors.scores(lower, lower, "fr")
    harmless = ("cut at spaces alone", "tokenised twice", *right)
    for way in (*harmless, "capitals in the references"):
        assert perfect[way] == pytest.approx(100), way
    assert perfect["outputs left in tokens"] < 95


@pytest.mark.parametrize("counts", [(1, 1), (0, 0), (3, 2)])
def test_scores_of_too_few_sentences_are_refused(counts):
    ours, theirs = (["un chat dort ."] * count for count in counts)
    with pytest.raises(ValueError, match="two sentences or more"):
        errors.scores(ours, theirs, "fr")


def test_sentences_are_quoted_by_chance_and_by_kind():
    kinds = ["other"] * 50 + ["exact"] * 50
    drawn, examples = translation_errors.quoted(kinds)
    assert len(set(drawn)) == translation_errors.DRAWN
    assert drawn == sorted(drawn) and max(drawn) < 100
    assert list(examples) == list(errors.KINDS) and examples["short"] == []
    for kind in ("other", "exact"):
        assert len(examples[kind]) == translation_errors.EXAMPLES
        assert all(kinds[i] == kind for i in examples[kind])
    assert not set(drawn) & set(chain(*examples.values()))


def test_two_systems_are_measured_on_the_same_sentences():
    nouns = ("chat", "chien", "banc", "lit")
    targets = [
        f"un {noun} noir dort {i} fois ." for i in range(10) for noun in nouns
    ]
    pairs = [
        SentencePair(
            ("one", "two"),
            tuple(tokenize(text)),
            source_text="one two",
            target_text=text,
        )
        for text in targets
    ]
    bad = [text.replace("noir", "blac") for text in targets[:30]]
    bad += targets[30:]
    cased = [text.capitalize() for text in targets]
    found = translation_errors.measure(
        {"good": targets, "bad": bad}, pairs, cased, {"un", "dort"}, "fr"
    )
    good, worse = found["models"]["good"], found["models"]["bad"]
    assert good["kinds"]["exact"] == 40
    assert worse["kinds"]["new word"] == 30 and worse["kinds"]["exact"] == 10
    assert "blac" in worse["unknown"] and "dort" not in worse["unknown"]
    assert good["scores"]["sacreBLEU"] == pytest.approx(100)
    assert good["interval"] == pytest.approx([100, 100])
    assert good["behind"] == {}
    low, high = worse["behind"]["good"]
    assert 0 < low < 100 - worse["scores"]["tokenised by Moses"] < high
    assert [row["sentences"] for row in worse["by_length"]] == [40]
    quoted = map(int, found["sentences"])
    assert {i: cased[i] for i in quoted} == {
        int(i): row["reference"] for i, row in found["sentences"].items()
    }


def test_a_fall_with_length_is_the_difference_of_two_buckets():
    right = [5, 4, 3, 2, 5, 4, 3, 2, 5, 5]
    wrong = [0, 0, 0, 0, 5, 4, 3, 2, 5, 5]
    counts = np.array([right] * 30 + [right, wrong] * 20)
    rows = translation_errors.by_length(counts, [5] * 30 + [15] * 40)
    assert [row["sentences"] for row in rows] == [30, 40]
    assert "fall" not in rows[0] and rows[0]["bleu"] == pytest.approx(100)
    low, high = rows[1]["fall"]
    assert 0 < low < 100 - rows[1]["bleu"] < high < 100
    # The first bucket is always 100, so the fall is 100 less the second.
    edges = rows[1]["interval"]
    assert [low, high] == pytest.approx([100 - edges[1], 100 - edges[0]])


def test_the_best_of_equals_is_ahead_where_it_was_chosen_only():
    draw = np.random.default_rng(3)
    first, second = (
        bleu_counts(
            ["a b c d e" if good else "a x c y e" for good in rows],
            ["a b c d e"] * 200,
        )
        for rows in draw.random((2, 200)) < 0.5
    )
    chosen, fresh = errors.best_of(first, second, trials=60)
    assert chosen > 2 and abs(fresh) < chosen / 3
    same = errors.best_of(first, first, trials=2)
    assert same == pytest.approx((0, 0), abs=1e-9)
    for bad in (first[:-1], first[:0]):
        with pytest.raises(ValueError, match="as many rows"):
            errors.best_of(first, bad)
    with pytest.raises(ValueError, match="two or more"):
        errors.best_of(first[:1], second[:1])


@pytest.fixture(scope="module")
def stored():
    text = (RESULTS / "multi30k-errors.json").read_text("utf-8")
    return json.loads(text)


def test_the_stored_file_is_of_the_results_that_are_there(stored):
    """A benchmark row that is new or changed needs a new file of errors."""
    there = {}
    for path in RESULTS.glob("benchmark-*-seed*.json"):
        result = json.loads(path.read_text("utf-8"))
        if result["recipe"]["corpus"] == "multi30k":
            score = result["metrics"]["bleu_tokenized"]["score"]
            there[path.stem] = pytest.approx(score, abs=1e-3)
    held = {
        name: model["scores"]["tokenised by Moses"]
        for found in stored["pairs"].values()
        for name, model in found["models"].items()
    }
    assert held == there, f"make it anew with: {stored['command']}"


def test_the_stored_file_quotes_few_sentences(stored):
    for found in stored["pairs"].values():
        assert len(found["sentences"]) <= 50
        for model in found["models"].values():
            assert sum(model["kinds"].values()) == 1000
            low, high = model["interval"]
            assert low < model["scores"]["tokenised by Moses"] < high


def pairs_of_test(language):
    """The test split of Multi30k: (English, other language), lower-cased."""
    sides = []
    for side in ("en", language):
        with gzip.open(LOCAL / f"test_2016_flickr.{side}.gz", "rt") as lines:
            sides.append([" ".join(line.split()).lower() for line in lines])
    return list(zip(*sides, strict=True))


@NEEDS_DATA
@pytest.mark.parametrize("pair", ["en-fr", "en-de"])
def test_what_is_stored_is_what_the_translations_give(pair, stored):
    """Of every row: both scores, the kinds of errors, the quotations."""
    language, found = pair.removeprefix("en-"), stored["pairs"][pair]
    pairs = pairs_of_test(language)
    references = [target for _, target in pairs]
    assert len(found["models"]) >= 6
    for name, model in found["models"].items():
        path = RESULTS / f"{name}.json"
        metrics = json.loads(path.read_text("utf-8"))["metrics"]
        outputs = metrics["outputs"]
        for scored, kept in (
            (bleu(outputs, references), metrics),
            (
                tokenized_bleu(outputs, references, language),
                metrics["bleu_tokenized"],
            ),
        ):
            score = kept["bleu"] if kept is metrics else kept["score"]
            assert scored.score == pytest.approx(score, abs=6e-5), name
            assert scored.signature == kept["signature"]
        kinds = [
            errors.kind_of(
                *map(tokenize, (source, text, target)),
                language,
                model["unknown"],
            )
            for (source, target), text in zip(pairs, outputs, strict=True)
        ]
        counts = {kind: kinds.count(kind) for kind in errors.KINDS}
        assert counts == model["kinds"], name
    for i, quoted in found["sentences"].items():
        texts = quoted["source"], quoted["reference"].lower()
        assert texts == pairs[int(i)]


@NEEDS_DATA
@pytest.mark.parametrize("pair", ["en-fr", "en-de"])
def test_the_rows_are_of_the_corpus_that_is_there(pair):
    fingerprint = corpora.load("multi30k", pair=pair).fingerprint()
    kept = {
        json.loads(path.read_text("utf-8"))["corpus_fingerprint"]
        for path in RESULTS.glob(f"benchmark-*{pair}-seed*.json")
    }
    assert kept == {fingerprint}
