"""Search on tables of probabilities, where the right answer is known."""

import inspect
import itertools
import math
from collections import Counter
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from s2s_lib.batches import take_rows
from s2s_lib.recurrent import RecurrentConfig, RecurrentModel
from s2s_lib.search import (
    _step_limits,
    beam,
    greedy,
    n_best,
    normalised,
    sample,
    translate,
)
from s2s_lib.vocab import EOS, PAD, SOS, UNK, Vocabulary


class TableMemory(NamedTuple):
    mask: Tensor  # (batch, 1)
    tables: Tensor  # (batch, vocabulary, vocabulary)


class Table:
    """The next token depends on the last one, as a table of logits says.

    With `drift` the table is sharper at every step, so that two sentences of
    the same transitions are not equally probable.
    """

    def __init__(self, drift=0.0):
        self.rows, self.drift = [], drift

    def step(self, memory, token, state):
        self.rows.append(len(token))
        count = torch.zeros(len(token)) if state is None else state[0]
        copies = len(token) // len(memory.tables)
        rows = torch.arange(len(memory.tables)).repeat_interleave(copies)
        logits = memory.tables[rows, token]
        sharper = 1 + self.drift * count[:, None]
        return logits * sharper, (count + 1,), None


def chances(table, t, drift):
    """The log-probabilities of step `t`, in float64."""
    return (table.double() * (1 + drift * t)).log_softmax(-1)


DRIFT = 0.1


def remember(tables):
    tables = torch.as_tensor(tables, dtype=torch.float32)
    return TableMemory(torch.ones(len(tables), 1, dtype=torch.bool), tables)


def random_tables(batch, size, seed, holes=0.0):
    """Logits, some of them minus infinity; a word can always follow."""
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, size, size)
    tables = 2 * torch.randn(shape, generator=generator)
    hole = torch.rand(shape, generator=generator) < holes
    hole[..., EOS] = False
    return remember(tables.masked_fill(hole, -torch.inf))


def log_prob_of(table, tokens, finished):
    path = [SOS, *tokens, *([EOS] if finished else [])]
    return sum(
        float(chances(table, t, DRIFT)[a, b])
        for t, (a, b) in enumerate(itertools.pairwise(path))
    )


def plain_beam(table, k, limit, penalty):
    """Beam search over one sentence, with lists."""
    live, done = [((), 0.0)], []
    for length in range(1, limit + 1):
        log_probs = chances(table, length - 1, DRIFT)
        candidates = [
            (prefix, token, total + float(log_probs[last, token]))
            for prefix, total in live
            for last in [prefix[-1] if prefix else SOS]
            for token in range(EOS, len(table))
            if log_probs[last, token] > -math.inf
        ]
        candidates.sort(key=lambda c: -c[2])
        for prefix, token, total in candidates[:k]:
            if token == EOS:
                done.append((prefix, total, total / length**penalty, True))
        live = [
            ((*prefix, token), total)
            for prefix, token, total in candidates
            if token != EOS
        ][:k]
        done = sorted(done, key=lambda h: -h[2])[:k]
        if not live:
            return done
        # No early stop here but for a beam that is full of better ends.
        best_to_come = live[0][1] / limit**penalty
        if len(done) == k and done[-1][2] >= best_to_come:
            return done
    cut = [(p, total, total / limit**penalty, False) for p, total in live]
    return (done + cut)[:k]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    size=st.integers(4, 8),
    k=st.integers(1, 12),
    limits=st.lists(st.integers(1, 6), min_size=1, max_size=3),
    penalty=st.sampled_from([0.0, 0.5, 1.0, 1.5]),
    holes=st.sampled_from([0.0, 0.5, 0.95]),
)
def test_batched_beam_is_the_plain_one(seed, size, k, limits, penalty, holes):
    memory = random_tables(len(limits), size, seed, holes)
    found = beam(Table(DRIFT), memory, k, torch.tensor(limits), penalty)
    for table, mine, limit in zip(memory.tables, found, limits, strict=True):
        expected = plain_beam(table, k, limit, penalty)
        assert [(h.tokens, h.finished) for h in mine] == [
            (tokens, finished) for tokens, _, _, finished in expected
        ]
        for h, (_, log_prob, score, _) in zip(mine, expected, strict=True):
            assert h.log_prob == pytest.approx(log_prob, abs=1e-4)
            assert h.score == pytest.approx(score, abs=1e-4)
            length = len(h.tokens) + h.finished
            assert length <= limit
            assert h.score == normalised(h.log_prob, length, penalty)
        assert 1 <= len({(h.tokens, h.finished) for h in mine}) == len(mine)
        assert len(mine) <= k


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    limits=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    how=st.sampled_from(["greedy", "sample"]),
)
def test_one_token_at_a_time_keeps_the_books(seed, limits, how):
    memory = random_tables(len(limits), 7, seed, holes=0.3)
    model, steps = Table(DRIFT), torch.tensor(limits)
    if how == "greedy":
        found = greedy(model, memory, steps)
    else:
        generator = torch.Generator().manual_seed(seed)
        found = sample(model, memory, steps, 1.5, generator=generator)
    taken = [len(h.tokens) + h.finished for h in found]
    for table, h, limit, n in zip(
        memory.tables, found, limits, taken, strict=True
    ):
        assert h.log_prob == pytest.approx(
            log_prob_of(table, h.tokens, h.finished), abs=1e-4
        )
        assert n <= limit
        assert h.finished or n == limit
        assert not {PAD, SOS, EOS} & set(h.tokens)
    assert model.rows == [sum(n > t for n in taken) for t in range(max(taken))]


def test_beam_leaves_a_garden_path_that_greedy_follows():
    """Greedy takes 4, after which all is bad; 5 is worse, then certain."""
    p = torch.full((1, 6, 6), 1e-9)
    p[0, SOS, 4], p[0, SOS, 5] = 0.6, 0.4
    p[0, 4, [UNK, 4, EOS]] = 1 / 3
    p[0, 5, EOS] = 1.0
    memory = remember(p.log())
    assert greedy(Table(), memory, 5)[0].tokens[0] == 4
    best = beam(Table(), memory, 2, 5)[0]
    assert best[0].tokens == (5,)
    assert best[0].log_prob == pytest.approx(math.log(0.4), abs=1e-5)


def test_length_penalty_turns_the_ranking_by_hand():
    """`<eos>` has 0.3, `4 4 <eos>` has 0.7 * 0.4 * 0.6 = 0.168."""
    p = torch.zeros(1, 5, 5)
    p[0, SOS, 4], p[0, SOS, EOS] = 0.7, 0.3
    p[0, 4, 4], p[0, 4, EOS] = 0.4, 0.6
    memory = remember(p.log())
    found = beam(Table(), memory, 4, 3)[0]
    assert [h.tokens for h in found] == [(4,), (), (4, 4), (4, 4, 4)]
    assert [h.finished for h in found] == [True, True, True, False]
    assert math.exp(found[0].log_prob) == pytest.approx(0.42, abs=1e-5)
    for penalty, second in ((0.0, ()), (1.0, (4, 4))):
        found = beam(Table(), memory, 4, 3, penalty)[0]
        assert found[1].tokens == second
    mean = math.log(0.7 * 0.4 * 0.6) / 3
    assert found[1].score == pytest.approx(mean, abs=1e-5)


def test_a_finished_end_stands_before_a_better_one_that_was_cut_off():
    p = torch.zeros(1, 5, 5)
    p[0, :, 4], p[0, :, EOS] = 0.99, 0.01
    found = beam(Table(), remember(p.log()), 3, 2)[0]
    assert [h.finished for h in found] == [True, True, False]
    assert found[2].log_prob > found[0].log_prob


def test_search_stops_when_nothing_better_can_come():
    p = torch.zeros(1, 5, 5)
    p[0, :, EOS], p[0, :, 4] = 0.9, 0.1
    model = Table()
    beam(model, remember(p.log()), 1, 50)
    assert model.rows == [1]
    # With a norm a longer one may still be better, but not for ever.
    model = Table()
    found = beam(model, remember(p.log()), 2, 50, length_penalty=1.0)
    assert found[0][0].tokens == ()
    assert len(model.rows) < 50


def test_ties_are_broken_by_some_order_but_stay_ties():
    memory = remember(torch.zeros(2, 7, 7))
    for k in (1, 3, 9):
        for found in beam(Table(), memory, k, 3):
            assert len({(h.tokens, h.finished) for h in found}) == len(found)
            for h in found:
                length = len(h.tokens) + h.finished
                assert h.log_prob == pytest.approx(-length * math.log(7))


def test_the_model_is_only_fed_what_can_occur():
    """Padding, start and dead ends have no next token: NaN, if asked."""
    p = torch.zeros(1, 7, 7)
    p[0, SOS, 4], p[0, SOS, 5] = 0.7, 0.3
    p[0, 4, EOS], p[0, 5, 4] = 1.0, 1.0
    found = beam(Table(), remember(p.log()), 8, 5)[0]
    assert [h.tokens for h in found] == [(4,), (5, 4)]


def test_tokens_of_probability_zero_are_never_taken():
    p = torch.zeros(1, 6, 6)
    p[0, :, 4] = 1.0
    memory = remember(p.log())
    found = beam(Table(), memory, 9, 3)[0]
    assert [h.tokens for h in found] == [(4, 4, 4)]
    assert found[0].log_prob == 0
    assert not found[0].finished
    assert sample(Table(), memory, 3, 100.0)[0].tokens == (4, 4, 4)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_logits_that_are_no_numbers_are_reported(value):
    tables = torch.zeros(1, 6, 6)
    tables[..., 5] = value
    for search in (greedy, sample):
        with pytest.raises(ValueError, match="NaN"):
            search(Table(), remember(tables), 3)
    with pytest.raises(ValueError, match="NaN"):
        beam(Table(), remember(tables), 2, 3)


def test_sampling_one_of_one_is_greedy():
    memory = random_tables(20, 8, seed=1)
    drawn = sample(Table(), memory, 5, temperature=3.0, top_k=1)
    assert drawn == greedy(Table(), memory, 5)


def chi_square(counts, probabilities):
    n = sum(counts)
    return sum(
        (c - n * p) ** 2 / (n * p)
        for c, p in zip(counts, probabilities, strict=True)
    )


@pytest.mark.parametrize(
    ("temperature", "top_k"),
    [(1.0, None), (0.5, None), (2.0, None), (1.0, 3), (2.0, 2), (1.0, 99)],
)
def test_samples_follow_the_distribution(temperature, top_k):
    """Two steps of 4000 sentences: 16 pairs at most, 15 degrees of freedom.

    A chi-square of 15 degrees exceeds 45 with a probability below 1e-4.
    """
    words = [EOS, UNK, 4, 5]
    logits = torch.tensor([9.0, 9.0, 0.3, -0.5, 1.2, 0.1])
    table = torch.stack([logits.roll(0)] * 4 + [logits.flip(0)] * 2)
    table[4:, :2] = 9.0  # padding and start: likely, and never drawn
    memory = remember(table.expand(4000, 6, 6))
    generator = torch.Generator().manual_seed(0)
    found = sample(Table(), memory, 2, temperature, top_k, generator)
    counts = Counter(
        (*h.tokens, *([EOS] if h.finished else [])) for h in found
    )

    def shares(last):
        weights = {w: math.exp(table[last, w] / temperature) for w in words}
        kept = sorted(words, key=lambda w: -weights[w])[:top_k]
        total = sum(weights[w] for w in kept)
        return {w: weights[w] / total for w in kept}

    expected = {}
    for first, p in shares(SOS).items():
        if first == EOS:
            expected[(EOS,)] = p
            continue
        for second, q in shares(first).items():
            expected[first, second] = p * q
    assert set(counts) <= set(expected)
    assert sum(expected.values()) == pytest.approx(1)
    bound = chi_square([counts[k] for k in expected], expected.values())
    assert bound < 45
    # The bound can tell: the wrong temperature misses it by far.
    even = [1 / len(expected)] * len(expected)
    assert chi_square([counts[k] for k in expected], even) > 45


def test_temperature_has_greedy_and_chance_as_its_limits():
    memory = random_tables(300, 8, seed=2)
    cold = greedy(Table(), memory, 4)
    for temperature in (1e-4, 1e-30, 1e-300):
        drawn = sample(Table(), memory, 4, temperature)
        assert [h.tokens for h in drawn] == [h.tokens for h in cold]
    generator = torch.Generator().manual_seed(0)
    memory = remember(memory.tables[:1].expand(3000, 8, 8))
    for temperature in (1e6, 1e30, 1e300, math.inf):
        hot = sample(Table(), memory, 1, temperature, generator=generator)
        counts = Counter(h.tokens for h in hot)
        assert len(counts) == 6
        assert chi_square(counts.values(), [1 / 6] * 6) < 26  # 5 degrees


def test_the_generator_alone_decides_what_is_drawn():
    memory = random_tables(30, 8, seed=3)

    def drawn(seed):
        generator = torch.Generator().manual_seed(seed)
        return sample(Table(), memory, 5, generator=generator)

    first = drawn(1)
    torch.manual_seed(7)
    assert drawn(1) == first
    assert drawn(2) != first


@pytest.mark.parametrize(
    ("search", "named"),
    [
        (lambda m: greedy(Table(), m, 0), "max_steps"),
        (lambda m: greedy(Table(), m, torch.tensor([1, 0])), "max_steps"),
        (lambda m: greedy(Table(), m, torch.ones(3).long()), "max_steps"),
        (lambda m: sample(Table(), m, 3, temperature=0.0), "temperature"),
        (lambda m: sample(Table(), m, 3, temperature=-1.0), "temperature"),
        (lambda m: sample(Table(), m, 3, temperature=math.nan), "temperat"),
        (lambda m: sample(Table(), m, 3, top_k=0), "top_k"),
        (lambda m: beam(Table(), m, 0, 3), "beam_size"),
        (lambda m: beam(Table(), m, 2, 0), "max_steps"),
        (lambda m: beam(Table(), m, 2, 3, -0.1), "length_penalty"),
    ],
)
def test_what_makes_no_sense_is_named(search, named):
    with pytest.raises(ValueError, match=named):
        search(random_tables(2, 6, seed=0))


@pytest.mark.parametrize("steps", [2.5, torch.tensor([1.5, 3.0])])
def test_a_limit_is_a_whole_number(steps):
    """No output would have that length. (Types are checked here anyway.)"""
    with pytest.raises(ValueError, match="must be a whole number"):
        inspect.unwrap(_step_limits)(steps, random_tables(2, 6, seed=0))


def test_no_sentence_gives_no_hypothesis():
    memory = random_tables(2, 6, seed=0)
    memory = take_rows(memory, torch.arange(0))
    assert greedy(Table(), memory, 3) == beam(Table(), memory, 2, 3) == []


def test_take_rows_keeps_the_form_of_the_tree():
    x = torch.arange(6).view(3, 2)
    tree = TableMemory(x, (x + 1, [x + 2, None]))
    picked = take_rows(tree, torch.tensor([2, 0]))
    assert isinstance(picked, TableMemory)
    assert picked.mask.tolist() == [[4, 5], [0, 1]]
    assert isinstance(picked.tables[1], list)
    assert picked.tables[1][0].tolist() == [[6, 7], [2, 3]]
    assert picked.tables[1][1] is None


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = RecurrentConfig(embedding_size=3, hidden_size=4, dropout=0.5)
    return RecurrentModel(7, 7, config)


VOCAB = Vocabulary(["a", "b", "c"])
SENTENCES = [["a", "b"], [], ["c"] * 9, ["never", "seen"], ["b"]]


@pytest.mark.parametrize("training", [True, False])
def test_n_best_restores_the_mode(model, training):
    model.train(training)
    first = n_best(model, SENTENCES, VOCAB)
    assert model.training == model.encoder.training == training
    assert n_best(model, SENTENCES, VOCAB) == first  # no dropout meanwhile


def test_n_best_restores_the_mode_after_an_error(model, monkeypatch):
    def fail(*args):
        raise KeyboardInterrupt

    model.train()
    monkeypatch.setattr(model, "step", fail)
    with pytest.raises(KeyboardInterrupt):
        n_best(model, SENTENCES, VOCAB)
    assert model.training
    assert model.decoder.training


def test_a_frozen_part_stays_in_evaluation_mode(model):
    model.train()
    model.encoder.eval()
    n_best(model, SENTENCES, VOCAB)
    assert model.training and model.decoder.training
    assert not any(part.training for part in model.encoder.modules())


def test_batches_of_no_sentence_are_refused(model):
    for size in (0, -1):
        with pytest.raises(ValueError, match=f"1 or more, not {size}"):
            n_best(model, SENTENCES, VOCAB, batch_size=size)


def test_a_limit_beyond_the_integers_is_none(model):
    with torch.no_grad():
        model.decoder.output.bias[EOS] = 50.0  # ends at once
    found = n_best(model, SENTENCES, VOCAB, max_steps=10**30)
    assert [h[0].tokens for h in found] == [()] * len(SENTENCES)


def test_n_best_gives_each_sentence_its_own_limit(model):
    with torch.no_grad():
        model.decoder.output.bias[EOS] = -50.0  # never ends by itself
    for options in ({}, {"beam_size": 2}):
        found = n_best(model, SENTENCES, VOCAB, batch_size=2, **options)
        assert [len(h[0].tokens) for h in found] == [
            (len(tokens) + 1) * 3 // 2 + 10 for tokens in SENTENCES
        ]
    found = n_best(model, SENTENCES, VOCAB, max_steps=1)
    assert [len(h[0].tokens) for h in found] == [1] * len(SENTENCES)


def test_translate_gives_words(model):
    found = translate(model, SENTENCES, VOCAB, VOCAB, beam_size=2)
    best = n_best(model, SENTENCES, VOCAB, beam_size=2)
    assert found == [VOCAB.decode(h[0].tokens) for h in best]
    assert translate(model, [], VOCAB, VOCAB) == []


def test_n_best_uses_the_penalty_even_for_a_beam_of_one(model):
    h = n_best(model, [["a"]], VOCAB, beam_size=1, length_penalty=1.0)[0][0]
    length = len(h.tokens) + h.finished
    assert length > 1
    assert h.score == pytest.approx(h.log_prob / length)


def test_search_keeps_no_graph(model, monkeypatch):
    memory = model.encode(torch.tensor([[4, 2]]), torch.ones(1, 2) > 0)
    assert memory.context.requires_grad
    seen = []
    step = model.step

    def watch(*args):
        out = step(*args)
        seen.append(out[0])
        return out

    monkeypatch.setattr(model, "step", watch)
    greedy(model, memory, 2)
    beam(model, memory, 2, 2)
    assert seen
    assert not any(logits.requires_grad for logits in seen)
