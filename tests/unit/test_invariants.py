"""What must hold for every model of the book, whatever is inside it.

A new model is one line in `MODELS`: a name and a function that makes it,
from a source and a target vocabulary size.
"""

import copy
import itertools
import math
from functools import cache, partial

import pytest
import torch

from s2s_lib.batches import pad, take_rows
from s2s_lib.recurrent import RecurrentConfig, RecurrentModel
from s2s_lib.search import beam, greedy, n_best, sample
from s2s_lib.transformer import (
    DecoderOnlyModel,
    TransformerConfig,
    TransformerModel,
)
from s2s_lib.vocab import EOS, PAD, SOS, UNK, Vocabulary

SOURCE_SIZE, TARGET_SIZE = 11, 6
WORDS = (UNK, 4, 5)  # all that a target can hold before <eos>


def recurrent(source_size, target_size, **settings):
    config = RecurrentConfig(
        embedding_size=3, hidden_size=4, dropout=0.4, **settings
    )
    return RecurrentModel(source_size, target_size, config)


# Every triple of settings occurs; a squeezed C (the last one) alternates.
MODELS = {
    f"{cell}-{1 + both}way-{layers}-{context}-{size}": partial(
        recurrent,
        cell=cell,
        bidirectional=both,
        num_layers=layers,
        context=context,
        context_size=size,
    )
    for cell in ("rnn", "gru", "lstm")
    for both in (True, False)
    for layers in (1, 2)
    for context in ("initial", "every_step")
    for size in [(None, 3)[(both + layers + len(context)) % 2]]
}

# Attention: every score, both orders, each extra, one and two layers.
ATTENTIVE = {
    f"attention-{name}": partial(recurrent, **settings)
    for name, settings in {
        "additive-before": dict(attention="additive"),
        "additive-before-coverage": dict(
            attention="additive", cell="lstm", num_layers=2, coverage=True
        ),
        "dot-after": dict(
            attention="dot", query="after", cell="lstm", num_layers=2
        ),
        "general-after-feeding": dict(
            attention="general",
            query="after",
            input_feeding=True,
            bidirectional=False,
        ),
        "scaled-after-hard": dict(
            attention="scaled_dot", query="after", selection="hard"
        ),
        "location-before": dict(attention="location", cell="rnn"),
    }.items()
}


def transformer(kind, source_size, target_size, **settings):
    config = TransformerConfig(
        hidden_size=4, feedforward_size=5, dropout=0.4, **settings
    )
    return kind(source_size, target_size, config)


# Every encoding of positions, both norms, one and two heads and layers.
TRANSFORMERS = {
    f"transformer-{name}": partial(transformer, TransformerModel, **settings)
    for name, settings in {
        "sinusoidal-pre": dict(num_heads=2, num_layers=1),
        "learned-post": dict(
            num_heads=1, num_layers=1, positions="learned", norm="post"
        ),
        "rotary-pre": dict(
            num_heads=2, num_layers=2, positions="rotary", weights_layer=0
        ),
        "none-post": dict(
            num_heads=2, num_layers=1, positions="none", norm="post"
        ),
    }.items()
}
DECODERS_ALONE = {
    f"decoder-only-{positions}": partial(
        transformer,
        DecoderOnlyModel,
        num_heads=2,
        num_layers=2,
        positions=positions,
        decoder_only=True,
    )
    for positions in ("sinusoidal", "rotary")
}
MODELS |= ATTENTIVE | TRANSFORMERS | DECODERS_ALONE
WEIGHTED = ATTENTIVE | TRANSFORMERS


@cache
def prototype(name):
    """A model with large random weights, so that every input matters.

    The first seed is taken whose greedy translations of `SOURCES` differ
    and end at different steps.
    """
    # A Transformer multiplies weights with weights: with such large ones its
    # rounding errors would come near to what the tests allow.
    bound = 1 if name in TRANSFORMERS | DECODERS_ALONE else 2
    for seed in range(500):
        torch.manual_seed(seed)
        made = MODELS[name](SOURCE_SIZE, TARGET_SIZE).eval()
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.uniform_(-bound, bound)
        found = greedy(made, read(made), 6)
        ended = {len(h.tokens) for h in found if h.finished}
        if len(ended) > 1 and len({h.tokens for h in found}) > 2:
            return made
    raise AssertionError(f"no seed makes {name} tell its sources apart")


@pytest.fixture(params=MODELS)
def model(request):
    return copy.deepcopy(prototype(request.param))


@pytest.fixture(params=WEIGHTED)
def weighted(request):
    return copy.deepcopy(prototype(request.param))


@pytest.fixture(params=ATTENTIVE)
def attentive(request):
    return copy.deepcopy(prototype(request.param))


SOURCES = [[4, 5, 6, 2], [2], [7, 8, 9, 10, 4, 4, 2], [5, 2], [6, 6, 6, 2]]
TARGETS = torch.tensor(
    [
        [SOS, 4, 5, 4, 4],
        [SOS, 5, 5, 3, 4],
        [SOS, 3, 4, 4, 5],
        [SOS, 4, 4, 4, 4],
        [SOS, 5, 4, 3, 3],
    ]
)


@torch.no_grad()
def read(model, sources=SOURCES, extra=0):
    """Encode; `extra` positions of padding hold words, and must not count."""
    ids, mask = pad(sources)
    if extra:
        more = torch.randint(4, SOURCE_SIZE, (len(ids), extra))
        ids = torch.cat([ids, more], 1)
        mask = torch.cat([mask, torch.zeros_like(more, dtype=torch.bool)], 1)
        ids[~mask] = torch.randint(4, SOURCE_SIZE, (int((~mask).sum()),))
    return model.encode(ids, mask)


@torch.no_grad()
def stepped(model, memory, targets):
    """The logits of `decode`, one call of `step` after the other."""
    state, logits = None, []
    for t in range(targets.shape[1]):
        one, state, _ = model.step(memory, targets[:, t], state)
        logits.append(one)
    return torch.stack(logits, 1)


def everything(model, memory, targets=TARGETS):
    """All that can be asked of a memory, row by row."""
    with torch.no_grad():
        logits, _ = model.decode(memory, targets)
    steps = stepped(model, memory, targets)
    one = greedy(model, memory, 6)
    many = beam(model, memory, 3, 6, length_penalty=0.6)
    return list(zip(logits, steps, one, many, strict=True))


def assert_same(left, right, tolerance=1e-5):
    """Equal tokens, and log-probabilities and logits to `tolerance`."""
    for a, b in zip(left, right, strict=True):
        for x, y in zip(a[:2], b[:2], strict=True):
            torch.testing.assert_close(x, y, rtol=0, atol=tolerance)
        for x, y in zip([a[2], *a[3]], [b[2], *b[3]], strict=True):
            assert (x.tokens, x.finished) == (y.tokens, y.finished)
            assert x.log_prob == pytest.approx(y.log_prob, abs=tolerance)
            assert x.score == pytest.approx(y.score, abs=tolerance)


@pytest.mark.parametrize("training", [False, True])
def test_no_logit_depends_on_a_later_token(model, training):
    model.train(training)
    for t in range(1, TARGETS.shape[1]):
        changed = TARGETS.clone()
        changed[:, t:] = 4 + 5 - changed[:, t:].clamp(4)
        assert (changed[:, t] != TARGETS[:, t]).all()
        logits = []
        for targets in (TARGETS, changed):
            torch.manual_seed(3)  # the same dropout for both
            logits.append(model.decode(read(model), targets)[0])
        assert torch.equal(logits[0][:, :t], logits[1][:, :t])
        assert not torch.equal(logits[0][:, t], logits[1][:, t])


def test_step_by_step_is_all_at_once(model):
    memory = read(model)
    logits, _ = model.decode(memory, TARGETS)
    torch.testing.assert_close(
        stepped(model, memory, TARGETS), logits, rtol=0, atol=1e-5
    )
    assert logits.shape == (*TARGETS.shape, TARGET_SIZE)


def test_more_padding_changes_nothing(model):
    assert_same(
        everything(model, read(model)), everything(model, read(model, extra=4))
    )


def test_neighbours_change_nothing(model):
    together = everything(model, read(model))
    alone = [
        everything(model, read(model, [source]), target[None])[0]
        for source, target in zip(SOURCES, TARGETS, strict=True)
    ]
    assert_same(together, alone)
    # Rows of a memory can be taken out, repeated and reordered.
    rows = torch.tensor([2, 0, 0])
    some = everything(model, take_rows(read(model), rows), TARGETS[rows])
    assert_same([together[i] for i in rows], some)


def test_evaluation_has_no_dropout_and_training_has(model):
    def logits():
        return model.decode(read(model), TARGETS)[0]

    assert torch.equal(logits(), logits())
    model.train()
    assert not torch.equal(logits(), logits())


def test_float64_runs_through(model):
    # What differs is the rounding of float32, with large weights.
    single = everything(model, read(model))
    assert_same(
        single,
        [
            (logits.float(), steps.float(), *found)
            for logits, steps, *found in everything(
                model.double(), read(model)
            )
        ],
        tolerance=1e-4,
    )


def test_greedy_is_argmax_one_sentence_at_a_time(model):
    found = greedy(model, read(model), 6)
    for source, hypothesis in zip(SOURCES, found, strict=True):
        memory, tokens, log_prob = read(model, [source]), [SOS], 0.0
        while len(tokens) <= 6 and tokens[-1] != EOS:
            logits = model.decode(memory, torch.tensor([tokens]))[0][0, -1]
            logits = logits.detach()
            # Padding and start are no words; the others keep their share.
            tokens.append(max((EOS, *WORDS), key=lambda i: logits[i]))
            log_prob += float(logits.log_softmax(0)[tokens[-1]])
        assert hypothesis.finished == (tokens[-1] == EOS)
        assert [*hypothesis.tokens] == [i for i in tokens[1:] if i != EOS]
        assert hypothesis.log_prob == pytest.approx(log_prob, abs=1e-5)
        assert hypothesis.score == hypothesis.log_prob


def test_a_beam_of_one_is_greedy(model):
    memory = read(model)
    for limit in (6, torch.tensor([6, 1, 3, 6, 2])):
        expected = greedy(model, memory, limit)
        for h, narrow in zip(
            expected, beam(model, memory, 1, limit), strict=True
        ):
            assert len(narrow) == 1
            assert narrow[0].tokens == h.tokens
            assert narrow[0].finished == h.finished
            for value in (narrow[0].log_prob, narrow[0].score):
                assert value == pytest.approx(h.log_prob, abs=1e-5)


def enumerated(model, memory, limit):
    """Every target that a limit allows, with its log-probability.

    Teacher forced: no search, no state that goes from step to step.
    """
    found = []
    for length in range(limit + 1):
        prefixes = list(itertools.product(WORDS, repeat=length))
        targets = torch.tensor([[SOS, *prefix] for prefix in prefixes])
        rows = torch.zeros(len(prefixes), dtype=torch.long)
        with torch.no_grad():
            logits, _ = model.decode(take_rows(memory, rows), targets)
        log_probs = logits.double().log_softmax(-1)
        for prefix, row in zip(prefixes, log_probs, strict=True):
            total = sum(float(row[t, i]) for t, i in enumerate(prefix))
            if length == limit:
                found.append((prefix, total, length, False))
            else:
                total += float(row[length, EOS])
                found.append((prefix, total, length + 1, True))
    return found


def test_a_wide_beam_is_exhaustive_search(model):
    limits = [3, 1, 2]
    memory = read(model, SOURCES[:3])
    every = [
        enumerated(model, take_rows(memory, torch.tensor([row])), limit)
        for row, limit in enumerate(limits)
    ]
    for penalty in (0.0, 0.7, 1.0, 2.0):
        wide = beam(model, memory, 45, torch.tensor(limits), penalty)
        check_against(every, wide, penalty)
    # Nothing is left out. At a limit of 1 the probabilities sum to 1, less
    # what the model gives to padding and start.
    logits = model.decode(memory, torch.full((3, 1), SOS))[0].detach()
    allowed = float(logits[1, 0].softmax(0)[EOS:].sum())
    found = sum(math.exp(h.log_prob) for h in wide[1])
    assert found == pytest.approx(allowed, abs=1e-5)


def check_against(every, wide, penalty):
    for found, mine in zip(every, wide, strict=True):
        expected = [
            (prefix, total, total / length**penalty, finished)
            for prefix, total, length, finished in found
        ]
        expected.sort(key=lambda h: (not h[3], -h[2]))
        assert len(mine) == len(expected)
        scores = [h.score for h in mine]
        assert scores == pytest.approx([h[2] for h in expected], abs=1e-5)
        by_tokens = {(h[0], h[3]): h for h in expected}
        for h in mine:
            _, total, score, _ = by_tokens.pop((h.tokens, h.finished))
            assert h.log_prob == pytest.approx(total, abs=1e-5)
            assert h.score == pytest.approx(score, abs=1e-5)


def test_teacher_forcing_gives_every_log_probability_again(model):
    memory = read(model)
    generator = torch.Generator().manual_seed(0)
    drawn = sample(model, memory, 6, 2.0, generator=generator)
    best = beam(model, memory, 2, 6, length_penalty=1.0)
    for row, hypotheses in enumerate(
        [h, *more] for h, more in zip(drawn, best, strict=True)
    ):
        for h in hypotheses:
            out = [*h.tokens, *([EOS] if h.finished else [])]
            one = take_rows(memory, torch.tensor([row]))
            with torch.no_grad():
                logits, _ = model.decode(one, torch.tensor([[SOS, *out[:-1]]]))
            log_probs = logits[0].log_softmax(-1)
            total = sum(float(log_probs[t, i]) for t, i in enumerate(out))
            assert h.log_prob == pytest.approx(total, abs=1e-5)


def counted(model, monkeypatch):
    """Rows that each call of `encode` and of `step` was given."""
    rows = {"encode": [], "step": []}
    encode, step = model.encode, model.step

    def count_encode(source, mask):
        rows["encode"].append(len(source))
        return encode(source, mask)

    def count_step(memory, token, state=None):
        rows["step"].append(len(token))
        return step(memory, token, state)

    monkeypatch.setattr(model, "encode", count_encode)
    monkeypatch.setattr(model, "step", count_step)
    return rows


def test_finished_sentences_leave_the_batch(model, monkeypatch):
    rows = counted(model, monkeypatch)
    limits = torch.tensor([6, 2, 1, 5, 4])
    found = greedy(model, read(model), limits)
    steps = [len(h.tokens) + h.finished for h in found]
    expected = [sum(n > t for n in steps) for t in range(max(steps))]
    assert rows["step"] == expected
    assert len(set(expected)) > 1
    rows["step"].clear()
    beam(model, read(model), 3, limits, 1.0)
    first, *later = rows["step"]
    assert first == len(SOURCES)  # each has one beginning, the empty one
    assert later and all(n % 3 == 0 for n in later)
    assert later == sorted(later, reverse=True)
    assert all(
        n <= 3 * sum(int(limit) > t for limit in limits)
        for t, n in enumerate(later, 1)
    )


def test_n_best_reads_once_and_keeps_the_order(model, monkeypatch):
    source_vocab = Vocabulary(list("abcdefg"))
    sentences = [source_vocab.decode(source) for source in SOURCES]
    alone = [
        n_best(model, [sentence], source_vocab, 3, max_steps=5)[0]
        for sentence in sentences
    ]
    rows = counted(model, monkeypatch)
    found = n_best(
        model, sentences, source_vocab, 3, max_steps=5, batch_size=2
    )
    assert rows["encode"] == [2, 2, 1]
    for mine, single in zip(found, alone, strict=True):
        assert [h.tokens for h in mine] == [h.tokens for h in single]
        assert [h.log_prob for h in mine] == pytest.approx(
            [h.log_prob for h in single], abs=1e-5
        )


@pytest.mark.parametrize("training", [False, True])
def test_weights_sum_to_1_and_are_0_on_padding(weighted, training):
    weighted.train(training)
    memory = read(weighted, extra=3)
    with torch.no_grad():
        _, weights = weighted.decode(memory, TARGETS)
    assert weights.shape == (*TARGETS.shape, memory.mask.shape[1])
    assert not weights.transpose(1, 2)[~memory.mask].any()
    torch.testing.assert_close(
        weights.sum(-1), torch.ones(TARGETS.shape), rtol=0, atol=1e-6
    )


def contexts(weights, memory):
    """A memory whose states are the same everywhere: the weighted mean."""
    mean = torch.einsum("bs,bsv->bv", weights, memory.states)
    return memory._replace(states=mean[:, None].expand_as(memory.states))


@torch.no_grad()
def test_returned_weights_are_the_weights_used(attentive):
    """All that a step learns from the states is their weighted mean.

    So the states may all be replaced by the mean under the weights that
    were returned, and no logit changes.
    """
    memory, state = read(attentive), None
    for t in range(TARGETS.shape[1]):
        token = TARGETS[:, t]
        logits, after, weights = attentive.step(memory, token, state)
        again, _, same = attentive.step(
            contexts(weights, memory), token, state
        )
        torch.testing.assert_close(again, logits, rtol=0, atol=1e-5)
        torch.testing.assert_close(same, weights)
        # Other weights would have been noticed.
        wrong = contexts(weights.flip(0) * memory.mask, memory)
        other = attentive.step(wrong, token, state)[0]
        assert float((other - logits).abs().max()) > 1e-3
        state = after


@torch.no_grad()
def test_weights_drawn_in_training_are_used(attentive):
    attentive.train()
    memory = read(attentive)
    torch.manual_seed(3)  # the same dropout and the same draws
    logits, weights = attentive.decode(memory, TARGETS[:, :1])
    torch.manual_seed(3)
    changed = contexts(weights[:, 0], memory)
    again, same = attentive.decode(changed, TARGETS[:, :1])
    torch.testing.assert_close(again, logits, rtol=0, atol=1e-5)
    assert torch.equal(same, weights)
    torch.manual_seed(4)
    drawn = attentive.decode(memory, TARGETS[:, :1])[1]
    if attentive.config.selection == "hard":
        assert not torch.equal(drawn, weights)
        assert set(weights.unique().tolist()) == {0.0, 1.0}


@torch.no_grad()
def test_weights_step_by_step_are_those_all_at_once(weighted):
    memory, state, found = read(weighted), None, []
    _, weights = weighted.decode(memory, TARGETS)
    for token in TARGETS.T:
        _, state, used = weighted.step(memory, token, state)
        found.append(used)
    torch.testing.assert_close(
        torch.stack(found, 1), weights, rtol=0, atol=1e-6
    )
    # Neither are they the same at every step, nor for every sentence.
    assert float((weights[:, 0] - weights[:, 1]).abs().max()) > 1e-3
    assert float((weights[0] - weights[2]).abs().max()) > 1e-3


@torch.no_grad()
def test_weights_do_not_see_neighbours_or_padding(weighted):
    _, together = weighted.decode(read(weighted, extra=2), TARGETS)
    for row, source in enumerate(SOURCES):
        memory = read(weighted, [source])
        _, alone = weighted.decode(memory, TARGETS[row : row + 1])
        torch.testing.assert_close(
            alone[0], together[row, :, : len(source)], rtol=0, atol=1e-5
        )


def test_keys_are_projected_once_per_sentence(attentive, monkeypatch):
    score, calls = attentive.decoder.score, []
    project = score.project_keys

    def count(states):
        calls.append("keys")
        return project(states)

    monkeypatch.setattr(score, "project_keys", count)
    if hasattr(score, "key"):  # nor does anything else project them
        score.key.register_forward_hook(lambda *_: calls.append("layer"))
    memory = read(attentive)
    expected = ["keys"] + ["layer"] * hasattr(score, "key")
    assert calls == expected
    greedy(attentive, memory, 6)
    beam(attentive, memory, 3, 6)
    attentive.decode(memory, TARGETS)
    assert calls == expected


@torch.no_grad()
def test_rows_of_a_state_can_be_taken(attentive):
    """Of every part of it: recurrent state, feed and coverage."""
    memory, state = read(attentive), None
    for token in TARGETS.T[:2]:
        _, state, _ = attentive.step(memory, token, state)
    whole = attentive.step(memory, TARGETS[:, 2], state)
    rows = torch.tensor([3, 0, 3])
    some = attentive.step(
        take_rows(memory, rows), TARGETS[rows, 2], take_rows(state, rows)
    )
    torch.testing.assert_close(some[0], whole[0][rows], rtol=0, atol=1e-5)
    torch.testing.assert_close(some[2], whole[2][rows], rtol=0, atol=1e-5)
    config = attentive.config
    assert (state.feed is None) != config.input_feeding
    assert (state.coverage is None) != config.coverage
    if config.coverage:
        torch.testing.assert_close(
            state.coverage.sum(1), torch.full((len(SOURCES),), 2.0)
        )


def test_rows_side_by_side_share_a_memory(model):
    """What a beam relies on: three beginnings per source read one memory."""
    memory, count = read(model), len(SOURCES)
    with torch.no_grad():
        _, state, _ = model.step(memory, TARGETS[:, 0], None)
        beside = torch.arange(count).repeat_interleave(3)
        state = take_rows(state, beside)
        token = torch.arange(3 * count) % TARGET_SIZE
        for _ in range(2):
            copied = take_rows(memory, beside)
            expected, after, seen = model.step(copied, token, state)
            found, state, weights = model.step(memory, token, state)
            torch.testing.assert_close(found, expected)
            torch.testing.assert_close(state, after)
            if seen is not None:
                torch.testing.assert_close(weights, seen)
            token = token.roll(1)


def test_rows_that_have_ended_leave_and_change_nothing(attentive):
    """Teacher forcing over rows of 5, 1, 0, 2 and 3 tokens."""
    attentive.eval()
    lengths = torch.tensor([5, 1, 0, 2, 3])
    real = torch.arange(5) < lengths[:, None]
    targets = TARGETS.masked_fill(~real, PAD)
    ids, mask = pad(SOURCES)

    def gradients(hidden, weights):
        attentive.zero_grad()
        (hidden[real].sin().sum() + (weights[real] ** 2).sum()).backward()
        return [p.grad for p in attentive.parameters()]

    hidden, weights = attentive.hidden(attentive.encode(ids, mask), targets)
    own = gradients(hidden, weights)
    memory = attentive.encode(ids, mask)
    expected, _, looked = attentive.decoder.run(targets, memory, None)
    torch.testing.assert_close(hidden[real], expected[real])
    torch.testing.assert_close(weights[real], looked[real])
    torch.testing.assert_close(own, gradients(expected, looked))
    if attentive.decoder.stepwise:
        assert not hidden[~real].any() and not weights[~real].any()
