"""Scores against sacreBLEU, against the papers, and by hand."""

import math
import random
from collections import Counter

import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st

from s2s_lib.metrics import (
    AlignmentScore,
    accuracy_by_position,
    alignment_by_class,
    alignment_error_rate,
    alignment_score,
    bleu,
    bleu_by_length,
    bleu_counts,
    bleu_of_counts,
    bootstrap,
    links_from_weights,
    moses,
    perplexity,
    pointing_entropy,
    recall_by_source_position,
    repetitions,
    tokenized_bleu,
)

WORDS = ("le", "chat", "dort", "bien", "ici")


def sentences(number, seed, noise=0.3):
    """References, and hypotheses that are often right and often short."""
    draw = random.Random(seed)
    pairs = []
    for _ in range(number):
        reference = draw.choices(WORDS, k=draw.randint(4, 12))
        hypothesis = [
            draw.choice(WORDS) if draw.random() < noise else token
            for token in reference
            if draw.random() > noise / 3
        ]
        pairs.append((" ".join(hypothesis), " ".join(reference)))
    return [list(side) for side in zip(*pairs, strict=True)]


def papers_bleu(hypotheses, references):
    """BLEU as `papineni2002` defines it, on tokens between spaces."""
    matched, possible = [0] * 4, [0] * 4
    c = r = 0
    for hypothesis, reference in zip(hypotheses, references, strict=True):
        ours, theirs = hypothesis.split(), reference.split()
        c, r = c + len(ours), r + len(theirs)
        for n in range(1, 5):
            grams, wanted = (
                Counter(tuple(side[i : i + n]) for i in range(len(side)))
                for side in (ours, theirs)
            )
            for gram, count in grams.items():
                if len(gram) == n:
                    possible[n - 1] += count
                    matched[n - 1] += min(count, wanted[gram])
    precisions = [m / p for m, p in zip(matched, possible, strict=True)]
    brevity = 1.0 if c > r else math.exp(1 - r / c)
    mean = math.exp(sum(math.log(p) for p in precisions) / 4)
    return 100 * brevity * mean, [100 * p for p in precisions], brevity


@pytest.mark.parametrize("lowercase", [False, True])
def test_bleu_is_sacrebleus_to_the_digit(lowercase):
    hypotheses = ["The cat, it sat.", "A Dog's bone costs 1,000!", "l'eau ."]
    references = ["the cat sat; it sat.", "a dog's bone costs 1,000!", "L'eau"]
    mine = bleu(hypotheses, references, lowercase)
    theirs = sacrebleu.corpus_bleu(
        hypotheses, [references], lowercase=lowercase
    )
    assert mine.score == theirs.score
    assert mine.precisions == tuple(theirs.precisions)
    assert mine.brevity_penalty == theirs.bp
    assert mine.hypothesis_length == theirs.sys_len
    assert mine.reference_length == theirs.ref_len
    case = "lc" if lowercase else "mixed"
    assert mine.signature == (
        f"nrefs:1|case:{case}|eff:no|tok:13a|smooth:exp"
        f"|version:{sacrebleu.__version__}"
    )
    assert (mine.score > 40) == lowercase


@pytest.mark.parametrize("seed", range(8))
def test_bleu_is_the_papers(seed):
    hypotheses, references = sentences(20, seed)
    if seed % 2:  # output that is too long has no penalty
        hypotheses, references = references, hypotheses
    score, precisions, brevity = papers_bleu(hypotheses, references)
    mine = bleu(hypotheses, references)
    assert (brevity == 1.0) == bool(seed % 2)
    assert mine.score == pytest.approx(score, abs=1e-9)
    assert mine.precisions == pytest.approx(precisions, abs=1e-9)
    assert mine.brevity_penalty == pytest.approx(brevity, abs=1e-12)


def test_bleu_is_of_the_corpus_and_not_a_mean_of_sentences():
    hypotheses, references = sentences(20, seed=3)
    single = [
        bleu([h], [r]).score
        for h, r in zip(hypotheses, references, strict=True)
    ]
    mean = sum(single) / len(single)
    assert abs(bleu(hypotheses, references).score - mean) > 1


def test_bleu_of_the_reference_and_of_nothing():
    _, references = sentences(5, seed=0)
    assert bleu(references, references).score == pytest.approx(100)
    assert bleu([""] * 5, references).score == 0


def test_bleu_by_length_cuts_at_closed_bounds():
    hypotheses, references = sentences(40, seed=5)
    lengths = [1 + i % 8 for i in range(40)]
    buckets = ((1, 3), (4, 4), (5, 7), (90, 99))
    found = bleu_by_length(hypotheses, references, lengths, buckets)
    for (low, high), score in zip(buckets, found, strict=True):
        rows = [i for i in range(40) if lengths[i] in range(low, high + 1)]
        if not rows:
            assert score is None
            continue
        expected = sacrebleu.corpus_bleu(
            [hypotheses[i] for i in rows], [[references[i] for i in rows]]
        )
        assert score == expected.score
    assert found[3] is None
    assert len(set(found)) == 4
    upper = [reference.upper() for reference in references]
    assert found == bleu_by_length(
        hypotheses, upper, lengths, buckets, lowercase=True
    )


def test_perplexity_by_hand():
    # 1/2, 1/4 and 1/8: two bits a token in the mean, 4 ways to go on.
    nll = math.log(2) + math.log(4) + math.log(8)
    assert perplexity(nll, 3) == pytest.approx(4)
    # A model that knows nothing branches into the whole vocabulary.
    assert perplexity(17 * math.log(500), 17) == pytest.approx(500)
    assert perplexity(0.0, 1) == 1
    assert perplexity(1e6, 1) == perplexity(math.inf, 1) == math.inf
    for number in (0, -1):
        with pytest.raises(ValueError, match="at least one token"):
            perplexity(1.0, number)


SURE = [(0, 0), (1, 2)]
POSSIBLE = [(2, 1), (2, 2)]


@pytest.mark.parametrize(
    ("predicted", "expected"),
    [
        (SURE, 0.0),  # all that is sure
        (SURE + POSSIBLE, 0.0),  # what is possible costs nothing
        ([], 1.0),  # nothing said, nothing right
        ([(5, 5)], 1.0),  # 1 - (0 + 0) / (1 + 2)
        ([(0, 0)], 1 - 2 / 3),  # (1 + 1) / (1 + 2)
        (POSSIBLE, 1 - 2 / 4),  # (0 + 2) / (2 + 2)
        ([(0, 0), (2, 1), (3, 3)], 1 - 3 / 5),  # (1 + 2) / (3 + 2)
        ([(2, 0), (0, 0)], 1 - 2 / 4),  # (source, target), not the reverse
        ([(0, 0), (0, 0)], 1 - 2 / 3),  # a link counts once
    ],
)
def test_alignment_error_rate_by_hand(predicted, expected):
    for possible in (POSSIBLE, SURE + POSSIBLE):
        found = alignment_error_rate([predicted], [SURE], [possible])
        assert found == pytest.approx(expected)


LINKS = st.frozensets(st.tuples(st.integers(0, 3), st.integers(0, 3)))
ROWS = st.lists(st.tuples(LINKS, LINKS, LINKS), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(ROWS)
def test_alignment_error_rate_is_the_papers(rows):
    """`och2003`, over the links of the whole corpus at once."""
    a, s, p = (
        {(n, *link) for n, row in enumerate(rows) for link in row[side]}
        for side in range(3)
    )
    p |= s
    sides = [list(side) for side in zip(*rows, strict=True)]
    if not a and not s:
        with pytest.raises(ValueError, match="link"):
            alignment_error_rate(*sides)
        return
    expected = 1 - (len(a & s) + len(a & p)) / (len(a) + len(s))
    found = alignment_error_rate(*sides)
    assert found == pytest.approx(expected)
    assert 0 <= found <= 1
    if a and a == s == p:
        # Without a distinction it is 1 - F1: recall and precision are 1.
        assert found == 0


def test_precision_and_recall_by_hand():
    found = alignment_score([[(0, 0), (2, 1), (3, 3)]], [SURE], [POSSIBLE])
    assert found.precision == pytest.approx(2 / 3)
    assert found.recall == pytest.approx(1 / 2)
    nothing = alignment_score([[]], [SURE], [POSSIBLE])
    assert math.isnan(nothing.precision) and nothing.recall == 0
    unsure = alignment_score([[(2, 1)]], [[]], [POSSIBLE])
    assert unsure.precision == 1 and math.isnan(unsure.recall)


@settings(max_examples=40, deadline=None)
@given(ROWS)
def test_one_class_for_all_is_the_whole_score(rows):
    sides = [list(side) for side in zip(*rows, strict=True)]
    found = alignment_by_class(*sides, [["word"] * 4] * len(rows))
    if not any(sides[0]) and not any(sides[1]):
        assert found == {}
    else:
        whole = alignment_score(*sides)
        assert found["word"].error_rate == whole.error_rate


def test_a_class_has_the_links_of_its_source_words():
    classes = ["noun", "verb", "noun"]
    predicted = [(0, 0), (1, 1), (2, 1), (3, 2)]  # 3 is behind the words
    found = alignment_by_class([predicted], [SURE], [POSSIBLE], [classes])
    assert found["verb"] == AlignmentScore(1.0, 0.0, 0.0)
    assert found["noun"] == AlignmentScore(0.0, 1.0, 1.0)
    assert list(found) == ["noun", "verb"]


def test_links_are_the_largest_weights():
    weights = [[0.1, 0.7, 0.2], [0.2, 0.3, 0.5], [0.0, 0.0, 0.0]]
    assert links_from_weights(weights, 3) == {(1, 0), (2, 1)}
    assert links_from_weights(weights, 2) == {(1, 0)}  # 2 is <eos>
    assert links_from_weights(np.zeros((0, 3)), 3) == set()


def test_pointing_entropy_is_the_logarithm_of_what_is_looked_at():
    assert pointing_entropy([[0.0, 1.0], [1.0, 0.0]]) == 0
    for n in (1, 2, 7):
        even = np.full((3, n), 1 / n)
        assert pointing_entropy(even) == pytest.approx(math.log(n))
    mixed = pointing_entropy([[0.5, 0.5], [1.0, 0.0]])
    assert mixed == pytest.approx(math.log(2) / 2)
    with pytest.raises(ValueError, match="no rows"):
        pointing_entropy(np.zeros((0, 4)))


def test_accuracy_by_position_by_hand():
    references = [list("abcde"), list("ab"), list("abc")]
    predictions = [list("abxdexx"), list("ba"), list("ab")]
    # Positions 0, 1: right are 2 + 0 + 2 of 6; 2, 3: 0 + 1 + 0 of 3; 4: 1.
    found = accuracy_by_position(predictions, references, width=2)
    assert found == pytest.approx([4 / 6, 1 / 3, 1.0])
    found = accuracy_by_position(predictions, references, width=1)
    assert found == pytest.approx([2 / 3, 2 / 3, 0, 1, 1])
    found = accuracy_by_position(predictions, references)
    assert found == pytest.approx([6 / 10])
    assert accuracy_by_position([["a"]], [[]]) == []
    assert accuracy_by_position([[]], [["a"] * 6]) == [0.0, 0.0]
    for width in (0, -1):
        with pytest.raises(ValueError, match=f"width .* not {width}"):
            accuracy_by_position(predictions, references, width)


def test_recall_by_source_position_by_hand():
    # Source of 4, two parts: links (0, 0), (1, 2) and (3, 1).
    links = [(0, 0), (1, 2), (3, 1)]
    for predicted, expected in (
        ("abc", [1.0, 1.0]),
        ("cab", [1.0, 1.0]),  # at any place
        ("a", [0.5, 0.0]),
        ("bbb", [0.0, 1.0]),
        ("", [0.0, 0.0]),
    ):
        found = recall_by_source_position(
            [list(predicted)], [list("abc")], [links], [4], bins=2
        )
        assert found == expected
    for bins in (0, -1):
        with pytest.raises(ValueError, match=f"bins .* not {bins}"):
            recall_by_source_position([[]], [["a"]], [[(0, 0)]], [1], bins)


def test_recall_uses_a_repeated_word_once():
    """The reference has "a" twice; one "a" counts for the nearer of them."""
    links = [[(0, 0), (1, 1), (2, 2)]]
    for predicted, expected in (
        ("abx", [1.0, 1.0, 0.0]),
        ("xba", [0.0, 1.0, 1.0]),
        ("aba", [1.0, 1.0, 1.0]),
        ("aaa", [1.0, 0.0, 1.0]),
    ):
        found = recall_by_source_position(
            [list(predicted)], [list("aba")], links, [3], bins=3
        )
        assert found == expected


@settings(max_examples=60, deadline=None)
@given(st.text("abc", max_size=8), st.text("abc", min_size=1, max_size=8))
def test_recall_of_all_positions_is_that_of_bags_of_words(text, wanted):
    links = [(i, i) for i in range(len(wanted))]
    found = recall_by_source_position(
        [list(text)], [list(wanted)], [links], [len(wanted)], bins=1
    )
    common = Counter(text) & Counter(wanted)
    assert found == [pytest.approx(common.total() / len(wanted))]


def test_recall_of_a_part_without_links_is_not_a_number():
    found = recall_by_source_position(
        [["a"]], [["a"]], [[(9, 0)]], [10], bins=2
    )
    assert math.isnan(found[0])
    assert found[1] == 1.0


def test_links_outside_their_sentence_are_named():
    for link in ((1, 0), (0, 1), (-1, 0)):
        with pytest.raises(ValueError, match="outside"):
            recall_by_source_position([["a"]], [["a"]], [[link]], [1])


def test_links_below_0_are_named():
    good, bad = [{(0, 0)}], [{(0, 0), (0, -1)}]
    assert alignment_error_rate(good, good, good) == 0
    for sides in ((bad, good, good), (good, bad, good), (good, good, bad)):
        with pytest.raises(ValueError, match=r"from 0: \(0, -1\)"):
            alignment_error_rate(*sides)


def test_sides_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match="2 hypotheses, 1 references"):
        bleu(["a", "b"], ["a"])
    with pytest.raises(ValueError, match="2 lengths"):
        bleu_by_length(["a"], ["a"], [1, 2], [(1, 2)])
    with pytest.raises(ValueError, match="2 possible"):
        alignment_error_rate([[]], [[]], [[], []])
    with pytest.raises(ValueError, match="0 predictions"):
        accuracy_by_position([], [["a"]])
    with pytest.raises(ValueError, match="2 source_lengths"):
        recall_by_source_position([["a"]], [["a"]], [[]], [1, 2])
    with pytest.raises(ValueError, match="at least one sentence"):
        bleu([], [])


# BLEU of tokenised text, as papers on Multi30k give it


def test_tokenized_bleu_splits_by_the_rules_of_moses():
    """L'homme is one token for sacreBLEU's 13a and two for Moses."""
    hypotheses = ["L'homme court vite aujourd'hui.", "Un chien dort ici ."]
    references = ["L'homme marche vite aujourd'hui.", "Un chien dort ici ."]
    ours = tokenized_bleu(hypotheses, references, "fr")
    by_hand = [
        "l' homme court vite aujourd' hui .",
        "un chien dort ici .",
    ]
    truth = [
        "l' homme marche vite aujourd' hui .",
        "un chien dort ici .",
    ]
    expected = sacrebleu.BLEU(tokenize="none").corpus_score(by_hand, [truth])
    assert ours.score == pytest.approx(expected.score)
    assert ours.hypothesis_length == 12
    assert ours.score != pytest.approx(bleu(hypotheses, references).score)
    assert "case:lc" in ours.signature
    assert "tok:none" in ours.signature
    assert "|moses-fr:" in ours.signature


def test_tokenized_bleu_ignores_case_and_marks_of_the_same_kind():
    score = tokenized_bleu(
        ["EIN Hund, „sagt“ er."], ['ein hund, "sagt" er.'], "de"
    )
    assert score.score == pytest.approx(100)


def test_moses_keeps_case_and_escapes_where_it_is_asked_to():
    text = ["L'ami & moi."]
    assert moses(text, "fr") == ["l' ami & moi ."]
    assert moses(text, "fr", lowercase=False) == ["L' ami & moi ."]
    assert moses(text, "fr", escape=True) == ["l&apos; ami &amp; moi ."]


@pytest.mark.parametrize("seed", range(3))
def test_counts_of_sentences_add_up_to_the_bleu_of_any_part(seed):
    hypotheses, references = sentences(40, seed)
    counts = bleu_counts(hypotheses, references)
    assert counts.shape == (40, 10)
    rows = random.Random(seed).choices(range(40), k=25)
    expected = sacrebleu.BLEU(tokenize="none").corpus_score(
        [hypotheses[i] for i in rows], [[references[i] for i in rows]]
    )
    found = bleu_of_counts(counts[rows].sum(0))
    assert found == pytest.approx(expected.score)


def test_counts_without_a_common_4_gram_are_smoothed_as_sacrebleu_does():
    texts = ["le chat dort ici bien"], ["le chat marche ici bien"]
    found = bleu_of_counts(bleu_counts(*texts)[0])
    expected = sacrebleu.BLEU(tokenize="none").corpus_score(
        texts[0], [texts[1]]
    )
    assert found == pytest.approx(expected.score) and found > 0


def test_counts_need_as_many_of_both():
    with pytest.raises(ValueError, match="1 hypotheses, 2 references"):
        bleu_counts(["a"], ["a", "b"])


def test_bootstrap_draws_the_same_sentences_for_the_same_seed():
    hypotheses, references = sentences(60, 0)
    counts = bleu_counts(hypotheses, references)
    scores = bootstrap(counts, draws=200)
    assert scores.shape == (200,) and len(set(scores)) > 150
    assert (scores == bootstrap(counts, draws=200)).all()
    assert (scores != bootstrap(counts, draws=200, seed=1)).any()
    whole = bleu_of_counts(counts.sum(0))
    assert scores.min() < whole < scores.max()
    assert scores.mean() == pytest.approx(whole, abs=scores.std())
    # Four times as many sentences: about half the spread.
    many = bootstrap(np.tile(counts, (4, 1)), draws=200)
    assert many.std() == pytest.approx(scores.std() / 2, rel=0.3)


def test_bootstrap_of_one_sentence_is_its_score():
    counts = bleu_counts(["le chat dort bien"], ["le chat dort bien ici"])
    scores = bootstrap(counts, draws=5)
    assert set(scores) == {bleu_of_counts(counts[0])}


def test_tokenized_bleu_needs_as_many_of_both():
    with pytest.raises(ValueError, match="1 hypotheses, 2 references"):
        tokenized_bleu(["a"], ["a", "b"], "fr")


# Repetitions


@given(
    st.lists(st.sampled_from("abc"), max_size=12),
    st.integers(min_value=1, max_value=5),
)
def test_repetitions_are_counted_one_by_one(tokens, n):
    """Each run of n that has stood there before is one."""
    seen, copies = [], 0
    for i in range(len(tokens) - n + 1):
        run = tokens[i : i + n]
        copies += run in seen
        seen.append(run)
    assert repetitions(tokens, n) == copies


def test_a_repeated_clause():
    clause = ["et", "nous", "sommes", "riches"]
    assert repetitions(clause) == 0
    assert repetitions(clause * 2) == 1
    assert repetitions([*clause, ",", *clause, ",", *clause]) == 6
    with pytest.raises(ValueError, match="1 or more, not 0"):
        repetitions(clause, 0)


def test_a_string_is_no_list_of_sentences():
    with pytest.raises(TypeError, match="hypotheses must be a list"):
        bleu("abc", "abd")


def test_links_may_come_one_by_one():
    """An iterator is read once."""
    predicted, sure = [{(0, 0), (1, 1)}], [{(0, 0)}]
    possible, classes = [{(1, 1)}], [["a", "b"]]
    once = [[iter(sorted(row)) for row in side]
            for side in (predicted, sure, possible)]  # fmt: skip
    whole = alignment_score(predicted, sure, possible)
    assert alignment_score(*once) == whole and whole.error_rate == 0
    once = [[iter(sorted(row)) for row in side]
            for side in (predicted, sure, possible)]  # fmt: skip
    by_class = alignment_by_class(*once, classes)
    assert by_class == alignment_by_class(predicted, sure, possible, classes)
    assert set(by_class) == {"a", "b"}


def test_there_must_be_something_to_draw_from():
    with pytest.raises(ValueError, match="no sentences"):
        bootstrap(np.zeros((0, 10)))
