"""Training pairs that are changed, judged and made."""

import math
from collections import Counter
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s2s_lib.grammar import SentencePair, generate
from s2s_lib.pairs import (
    UNSEEN,
    back_translated,
    mispaired,
    model_1,
    most_plausible,
    plausibility,
    turned,
    untranslated,
)
from s2s_lib.vocab import Vocabulary

PAIRS = generate(200, seed=5, max_tokens=10)
TOY = [
    SentencePair(("the", "cat"), ("le", "chat")),
    SentencePair(("the", "dog"), ("le", "chien")),
    SentencePair(("a", "cat"), ("un", "chat")),
]
words = st.lists(st.sampled_from("abcd"), min_size=1, max_size=4).map(tuple)
pairs_of_letters = st.lists(
    st.builds(SentencePair, words, words), min_size=1, max_size=6
)


@settings(deadline=None)
@given(st.floats(0.01, 1), st.integers(0, 50))
def test_mispaired_targets_go_round(share, seed):
    changed = mispaired(PAIRS, share, seed)
    assert [p.source for p in changed] == [p.source for p in PAIRS]
    before, after = ([p.target for p in list_] for list_ in (PAIRS, changed))
    assert Counter(before) == Counter(after)
    drawn = [a.target != b.target for a, b in zip(changed, PAIRS, strict=True)]
    assert sum(drawn) == round(share * len(PAIRS))
    assert changed == mispaired(PAIRS, share, seed)
    # No link is kept that would be of another sentence.
    for pair, new in zip(changed, drawn, strict=True):
        assert not (new and pair.possible)


def test_another_seed_draws_other_pairs():
    assert mispaired(PAIRS, 0.5, 1) != mispaired(PAIRS, 0.5)
    assert untranslated(PAIRS, 0.5, 1) != untranslated(PAIRS, 0.5)


def test_one_pair_alone_cannot_get_the_target_of_another():
    with pytest.raises(ValueError, match="of 10 pairs is one pair"):
        mispaired(PAIRS[:10], 0.1)
    assert mispaired(PAIRS[:10], 0.0) == PAIRS[:10]
    assert mispaired([], 1.0) == []


def test_texts_go_with_their_sides():
    real = [
        SentencePair((x,), (y,), source_text=x.upper(), target_text=y.upper())
        for x, y in ("ab", "cd")
    ]
    texts = [(p.source_text, p.target_text) for p in mispaired(real, 1.0)]
    assert texts == [("A", "D"), ("C", "B")]
    texts = [(p.source_text, p.target_text) for p in untranslated(real, 1.0)]
    assert texts == [("A", "A"), ("C", "C")]
    made = back_translated(real, lambda sentences: [["x"], []])
    assert [p.target_text for p in made] == ["B", "D"]
    assert [p.source_sentence for p in made] == ["x", ""]


def test_untranslated_targets_are_their_sources():
    changed = untranslated(PAIRS, 0.3, 7)
    same = [pair.target == pair.source for pair in changed]
    assert sum(same) == 60
    for old, new, copied in zip(PAIRS, changed, same, strict=True):
        assert new == (SentencePair(old.source, old.source) if copied else old)


@pytest.mark.parametrize("function", [mispaired, untranslated])
@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan])
def test_a_share_is_from_0_to_1(function, share):
    with pytest.raises(ValueError, match="share must be from 0 to 1, not"):
        function(PAIRS, share)
    with pytest.raises(ValueError, match="share must be from 0 to 1, not"):
        most_plausible(TOY, share)


def test_turned_pairs_have_their_links_turned():
    (pair,) = turned(PAIRS[:1])
    old = PAIRS[0]
    assert (pair.source, pair.target) == (old.target, old.source)
    assert pair.sure == {(j, i) for i, j in old.sure}
    assert pair.possible == {(j, i) for i, j in old.possible}
    assert pair.sure and pair.source_classes == ()
    real = SentencePair(("a",), ("b",), source_text="A", target_text="B")
    assert turned([real]) == [
        SentencePair(("b",), ("a",), source_text="B", target_text="A")
    ]
    assert turned(turned([real])) == [real]


def test_back_translation_keeps_the_true_targets():
    def shout(sentences):
        return [[word.upper() for word in words] for words in sentences]

    assert back_translated(TOY, shout) == [
        SentencePair(("LE", "CHAT"), ("le", "chat")),
        SentencePair(("LE", "CHIEN"), ("le", "chien")),
        SentencePair(("UN", "CHAT"), ("un", "chat")),
    ]


def vocabs_of(pairs):
    return (
        Vocabulary.build(pair.source for pair in pairs),
        Vocabulary.build(pair.target for pair in pairs),
    )


def by_hand(pairs, rounds):
    """Model 1 as loops over dictionaries."""
    table = {}
    number = len(vocabs_of(pairs)[1])
    for _ in range(rounds):
        credit, totals = Counter(), Counter()
        for pair in pairs:
            for f in pair.target:
                total = sum(table.get((e, f), 1 / number) for e in pair.source)
                for e in pair.source:
                    share = table.get((e, f), 1 / number) / total
                    credit[e, f] += share
                    totals[e] += share
        table = {(e, f): n / totals[e] for (e, f), n in credit.items()}
    return table


@settings(deadline=None)
@given(pairs_of_letters, st.integers(1, 4))
def test_the_table_is_model_1_by_hand(pairs, rounds):
    source_vocab, target_vocab = vocabs_of(pairs)
    table, _ = model_1(pairs, source_vocab, target_vocab, rounds)
    wanted = by_hand(pairs, rounds)
    for e, f in product(source_vocab.to_list(), target_vocab.to_list()):
        (row,), (column,) = source_vocab.encode([e]), target_vocab.encode([f])
        assert table[row, column] == pytest.approx(wanted.get((e, f), 0))
    assert table.sum() == pytest.approx(len({e for e, _ in wanted}))


def test_the_history_is_the_log_probability_and_never_falls():
    vocabs = vocabs_of(PAIRS)
    _, history = model_1(PAIRS, *vocabs, 6)
    assert len(history) == 6 and all(np.diff(history) > 0)
    before, _ = model_1(PAIRS, *vocabs, 5)
    words = np.array([len(pair.target) for pair in PAIRS])
    scores = plausibility(PAIRS, before, *vocabs)
    assert scores @ words / words.sum() == pytest.approx(history[-1])


def test_plausibility_is_the_mean_log_probability():
    source_vocab, target_vocab = vocabs = vocabs_of(TOY)
    table, _ = model_1(TOY, *vocabs)
    (score,) = plausibility(TOY[:1], table, *vocabs)
    rows = source_vocab.encode(["the", "cat"])
    columns = target_vocab.encode(["le", "chat"])
    wanted = [
        math.log((table[rows[0], f] + table[rows[1], f]) / 2) for f in columns
    ]
    assert score == pytest.approx(sum(wanted) / 2)


def test_plausibility_of_new_words_and_of_nothing():
    vocabs = vocabs_of(TOY)
    table, _ = model_1(TOY, *vocabs)
    pairs = [
        SentencePair(("the", "cat"), ("le", "oiseau")),
        SentencePair(("bird",), ("chat",)),
        SentencePair(("the", "cat"), ()),
        SentencePair((), ("le",)),
        SentencePair(("the", "cat"), ("le",)),
    ]
    *scores, known = plausibility(pairs, table, *vocabs)
    least = math.log(UNSEEN)
    assert scores == pytest.approx([(known + least) / 2, *[least] * 3])
    assert list(plausibility([], table, *vocabs)) == []


def test_the_most_plausible_pairs_are_the_right_ones():
    pairs = generate(2000, seed=6, max_tokens=10)
    spoilt = mispaired(pairs, 0.5)
    kept = most_plausible(spoilt, 0.5)
    right = {pair.source: pair.target for pair in pairs}
    share = np.mean([right[pair.source] == pair.target for pair in kept])
    assert len(kept) == 1000 and share > 0.95
    order = {pair.source: i for i, pair in enumerate(pairs)}
    positions = [order[pair.source] for pair in kept]
    assert positions == sorted(positions)
    assert most_plausible(pairs, 1.0) == pairs
    assert most_plausible(pairs, 0.0) == []
    assert len(most_plausible(pairs, 0.5, min_count=500)) == 1000


def test_a_table_needs_pairs_and_rounds():
    with pytest.raises(ValueError, match="no pairs to learn a table"):
        model_1([], *vocabs_of(TOY))
    with pytest.raises(ValueError, match="rounds must be 1 or more, not 0"):
        model_1(TOY, *vocabs_of(TOY), 0)
    for empty in (SentencePair(("a",), ()), SentencePair((), ("a",))):
        with pytest.raises(ValueError, match="pair 3 has an empty sentence"):
            model_1([*TOY, empty], *vocabs_of(TOY))
