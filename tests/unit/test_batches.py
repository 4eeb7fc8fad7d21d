"""Padding, masks, and an epoch that misses and repeats no pair."""

from collections import Counter
from itertools import islice, pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from s2s_lib.batches import (
    POOL,
    Batch,
    EncodedPair,
    PairList,
    RespelledPairs,
    batch_rows,
    collate,
    encode_pairs,
    make_batches,
    pad,
    spread_rows,
    take_rows,
)
from s2s_lib.grammar import SentencePair
from s2s_lib.subwords import SubwordVocabulary
from s2s_lib.training import TrainingConfig
from s2s_lib.vocab import EOS, PAD, SOS, UNK, Vocabulary

IDS = st.lists(st.integers(3, 9), max_size=5)
PAIRS = st.lists(
    st.builds(
        lambda s, t: EncodedPair([*s, EOS], [*t, EOS]),
        IDS,
        IDS,
    ),
    max_size=30,
)


def random_pairs(number, seed=0):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 40, (number, 2), generator=generator).tolist()
    return [
        EncodedPair([4 + i, *[4] * s, EOS], [4 + i, *[4] * t, EOS])
        for i, (s, t) in enumerate(lengths)
    ]


def unpacked(batches):
    """The pairs of some batches, as they were before padding."""
    return [
        (tuple(source[mask].tolist()), tuple(target[other].tolist()))
        for batch in batches
        for source, mask, target, other in zip(
            batch.source,
            batch.source_mask,
            batch.target_out,
            batch.target_mask,
            strict=True,
        )
    ]


def padded_share(batches):
    masks = [m for b in batches for m in (b.source_mask, b.target_mask)]
    return 1 - sum(int(m.sum()) for m in masks) / sum(m.numel() for m in masks)


@settings(max_examples=50, deadline=None)
@given(st.lists(IDS, min_size=1, max_size=6))
def test_pad_keeps_every_id_and_marks_it(rows):
    ids, mask = pad(rows)
    assert ids.shape == mask.shape == (len(rows), max(map(len, rows)))
    assert ids.dtype == torch.int64
    assert mask.dtype == torch.bool
    for row, padded, real in zip(rows, ids, mask, strict=True):
        assert padded.tolist() == row + [PAD] * (len(padded) - len(row))
        assert real.tolist() == [t < len(row) for t in range(len(real))]


def test_pad_marks_what_was_given_even_if_its_id_is_that_of_padding():
    assert pad([[PAD, 5], [7]])[1].tolist() == [[True, True], [True, False]]


def test_pad_and_collate_refuse_nothing_at_all():
    for call in (pad, collate):
        with pytest.raises(ValueError, match="at least one"):
            call([])


def test_rows_are_named_on_the_device_of_the_tensors(monkeypatch):
    """Nothing but a graphics processor would complain."""
    select = torch.Tensor.index_select

    def watched(self, dim, rows):
        assert rows.device == self.device
        return select(self, dim, rows)

    monkeypatch.setattr(torch.Tensor, "index_select", watched)
    tree = (torch.empty(2, 3, device="meta"), None)
    assert spread_rows(tree, 2, 6)[0].shape == (6, 3)
    rows = torch.tensor([1, 1, 0])
    assert take_rows(tree, rows)[0].shape == (3, 3)
    numbers = torch.arange(6).view(3, 2)
    assert take_rows(numbers, rows).tolist() == [[2, 3], [2, 3], [0, 1]]
    assert take_rows(numbers, slice(1, 3)).tolist() == [[2, 3], [4, 5]]
    assert spread_rows(numbers, 3, 3) is numbers


def test_encode_pairs_ends_both_sides_and_knows_unknown_words():
    pairs = [SentencePair(("a", "x"), ("b",)), SentencePair((), ())]
    encoded = encode_pairs(pairs, Vocabulary(["a"]), Vocabulary(["c", "b"]))
    assert encoded == [([4, UNK, EOS], [5, EOS]), ([EOS], [EOS])]


def test_collate_by_hand():
    batch = collate([EncodedPair([4, 2], [5, 6, 2]), EncodedPair([2], [2])])
    assert batch.source.tolist() == [[4, 2], [2, 0]]
    assert batch.source_mask.tolist() == [[True, True], [True, False]]
    assert batch.target_in.tolist() == [[SOS, 5, 6], [SOS, 0, 0]]
    assert batch.target_out.tolist() == [[5, 6, EOS], [EOS, 0, 0]]
    mask = [[True, True, True], [True, False, False]]
    assert batch.target_mask.tolist() == mask
    moved = batch.to("meta")
    assert isinstance(moved, Batch)
    assert all(tensor.device.type == "meta" for tensor in moved)


@settings(max_examples=60, deadline=None)
@given(PAIRS, st.integers(1, 8), st.none() | st.integers(0, 9), st.booleans())
def test_an_epoch_has_every_pair_exactly_once(pairs, size, seed, bucket):
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    batches = list(make_batches(pairs, size, generator, bucket))
    given_pairs = [(tuple(p.source), tuple(p.target)) for p in pairs]
    assert Counter(unpacked(batches)) == Counter(given_pairs)
    if seed is None:
        assert unpacked(batches) == given_pairs
    sizes = sorted(len(batch.source) for batch in batches)
    full, rest = divmod(len(pairs), size)
    assert sizes == [rest] * (rest > 0) + [size] * full


@pytest.mark.parametrize("bucket", [True, False])
def test_the_generator_alone_decides_the_order(bucket):
    pairs = random_pairs(100)

    def epoch(generator):
        return unpacked(make_batches(pairs, 8, generator, bucket))

    generator = torch.Generator().manual_seed(3)
    first, second = epoch(generator), epoch(generator)
    torch.manual_seed(99)
    assert epoch(torch.Generator().manual_seed(3)) == first
    assert epoch(torch.Generator().manual_seed(4)) != first
    assert second != first
    assert first != unpacked(make_batches(pairs, 8))


def test_buckets_save_padding():
    pairs = random_pairs(1000)

    def share(bucket):
        generator = torch.Generator().manual_seed(0)
        return padded_share(make_batches(pairs, 16, generator, bucket))

    assert share(False) > 0.4
    assert share(True) < 0.75 * share(False)


def test_buckets_do_not_run_from_short_to_long():
    pairs = random_pairs(16 * POOL)
    generator = torch.Generator().manual_seed(0)
    batches = make_batches(pairs, 16, generator)
    lengths = [batch.target_in.shape[1] for batch in batches]
    steps = list(pairwise(lengths))
    rising = sum(a < b for a, b in steps)
    assert 0.2 * len(steps) < rising < 0.8 * len(steps)


def test_a_batch_of_no_pairs_is_refused():
    with pytest.raises(ValueError, match="batch_size must be 1 or more"):
        list(make_batches(random_pairs(3), 0))


# Batches by tokens


@settings(deadline=None)
@given(
    lengths=st.lists(
        st.tuples(st.integers(1, 30), st.integers(1, 30)), max_size=60
    ),
    batch_tokens=st.integers(1, 100),
    shuffled=st.booleans(),
    bucket=st.booleans(),
)
def test_batches_by_tokens(lengths, batch_tokens, shuffled, bucket):
    pairs = [EncodedPair([5] * s, [5] * t) for s, t in lengths]
    generator = torch.Generator().manual_seed(0) if shuffled else None
    batches = batch_rows(pairs, 1, generator, bucket, batch_tokens)
    assert sorted(row for rows in batches for row in rows) == list(
        range(len(pairs))
    )
    if not shuffled:
        assert [row for rows in batches for row in rows] == list(
            range(len(pairs))
        )
    for rows in batches:
        widest = max(max(lengths[row]) for row in rows)
        assert len(rows) == 1 or len(rows) * widest <= batch_tokens


def test_batches_by_tokens_are_full():
    pairs = [EncodedPair([5] * 4, [5] * 4) for _ in range(100)]
    batches = batch_rows(pairs, 1, torch.Generator(), True, 40)
    assert [len(rows) for rows in batches] == [10] * 10


def test_negative_batch_tokens_are_refused():
    with pytest.raises(ValueError, match="batch_tokens must be 0"):
        batch_rows(random_pairs(3), 1, batch_tokens=-1)


# Update by update, epoch after epoch

CONFIG = TrainingConfig(batch_size=4)  # 6 updates in an epoch of 23 pairs
WORDS = [
    "a",
    "cat",
    "dog",
    "eats",
    "sleeps",
    "the",
    "walked",
    "walking",
    "walks",
    "was",
]
SENTENCES = [
    SentencePair(
        tuple(WORDS[(i + k) % 10] for k in range(1 + i % 4)),
        tuple(WORDS[(3 * i + k) % 10] for k in range(1 + i % 3)),
    )
    for i in range(23)
]
PIECES = SubwordVocabulary.build([WORDS], 50)
ASKED = {
    "a list": lambda: PairList(encode_pairs(SENTENCES, PIECES, PIECES)),
    "respelled": lambda: RespelledPairs(SENTENCES, PIECES, PIECES, 0.3),
}


@pytest.mark.parametrize("kind", ASKED)
def test_updates_go_on_at_any_place(kind):
    whole = list(islice(ASKED[kind]().updates(CONFIG), 20))  # three epochs
    for step, (_, place) in enumerate(whole):
        assert place == [step // 6, step % 6 + 1]
        rest = ASKED[kind]().updates(CONFIG, place)
        assert list(islice(rest, 19 - step)) == whole[step + 1 :]
    # Checkpoints once held the number of updates.
    rest = ASKED[kind]().updates(CONFIG, 15)
    assert list(islice(rest, 5)) == whole[15:]
    assert next(ASKED[kind]().updates(CONFIG, 0)) == whole[0]


@pytest.mark.parametrize("kind", ASKED)
def test_every_epoch_has_the_sentences_once(kind):
    wanted = Counter((pair.source, pair.target) for pair in SENTENCES)
    updates = ASKED[kind]().updates(CONFIG)
    for _ in range(3):
        found = Counter(
            tuple(tuple(PIECES.decode(ids)) for ids in pair)
            for _ in range(6)
            for pair in next(updates)[0]
        )
        assert found == wanted


def test_each_epoch_and_each_seed_has_spellings_of_its_own():
    pairs = RespelledPairs(SENTENCES, PIECES, PIECES, 0.3)
    epochs = [
        pairs.of_epoch(seed, epoch) for seed in (0, 1) for epoch in (0, 1)
    ]
    assert all(a != b for i, a in enumerate(epochs) for b in epochs[:i])
    assert epochs[0] == pairs.of_epoch(0, 0)
    assert all(ids[-1] == EOS for pair in epochs[0] for ids in pair)
    # The same pair is not the same in two epochs, and is longer than usual.
    usual = encode_pairs(SENTENCES, PIECES, PIECES)
    for side in range(2):
        lengths = [
            sum(len(pair[side]) for pair in some) for some in (usual, *epochs)
        ]
        assert min(lengths[1:]) > 1.2 * lengths[0]


def test_without_dropout_they_are_spelled_as_always():
    usual = encode_pairs(SENTENCES, PIECES, PIECES)
    pairs = RespelledPairs(SENTENCES, PIECES, PIECES, 0.0)
    assert pairs.of_epoch(0, 3) == pairs.pairs == usual


def test_the_share_is_part_of_the_identity():
    texts = {
        RespelledPairs(some, PIECES, PIECES, share).identity()
        for some in (SENTENCES, SENTENCES[1:])
        for share in (0.1, 0.2)
    }
    assert len(texts) == 4


def test_what_cannot_be_respelled_is_said():
    with pytest.raises(TypeError, match="not with a Vocabulary"):
        RespelledPairs(SENTENCES, PIECES, Vocabulary(WORDS), 0.1)
    with pytest.raises(ValueError, match=r"from 0 to 1, not -0\.1"):
        RespelledPairs(SENTENCES, PIECES, PIECES, -0.1)
