"""The estimated gradient against the exact one, by listing all draws."""

import itertools
import math

import pytest
import torch
from torch import nn

from s2s_lib import hard
from s2s_lib.attention import attend
from s2s_lib.batches import EncodedPair, collate
from s2s_lib.hard import BASELINES, reinforce_loss
from s2s_lib.recurrent import RecurrentConfig, RecurrentModel, run_loop
from s2s_lib.vocab import EOS, SOS

# Three words to predict, one with 3 source positions and two with 2.
PAIRS = [
    EncodedPair([4, 5, EOS], [EOS]),
    EncodedPair([5, EOS], [4, EOS]),
]
PLACES = [(0, 0), (1, 0), (1, 1)]  # row and step of each of these words


def tiny(**changes):
    torch.manual_seed(1)
    settings = {
        "embedding_size": 2,
        "hidden_size": 3,
        "attention": "dot",
        "query": "after",
    }
    config = RecurrentConfig(**(settings | changes))
    model = RecurrentModel(6, 5, config).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)  # far from uniform weights and from equal losses
    return model


def gradient(model, loss):
    model.zero_grad()
    loss.backward()
    return torch.cat(
        [
            (torch.zeros_like(p) if p.grad is None else p.grad).flatten()
            for p in model.parameters()
        ]
    )


def by_position(model, batch):
    """p(z) and the loss for each position z: (words, source) each."""
    memory = model.encode(batch.source, batch.source_mask)
    inputs = model.decoder.embedding(batch.target_in)
    hidden, _ = run_loop(model.decoder.loop, inputs, memory.initial)
    _, weights = attend(
        hidden,
        memory.keys,
        memory.states,
        memory.mask[:, None],
        model.decoder.score,
    )
    columns = []
    for z in range(batch.source.shape[1]):
        context = memory.states[:, z : z + 1].expand(-1, hidden.shape[1], -1)
        logits = model.decoder.output(
            model.decoder.attentional(context, hidden)
        )
        columns.append(
            nn.functional.cross_entropy(
                logits[batch.target_mask],
                batch.target_out[batch.target_mask],
                reduction="none",
            )
        )
    return weights[batch.target_mask], torch.stack(columns, dim=1)


def all_draws(model, batch, baseline, monkeypatch):
    """(probability, loss, gradient) for everything that may be drawn."""
    with torch.no_grad():
        p, _ = by_position(model, batch)
    # p: (words, source)
    counts = [int((row > 0).sum()) for row in p]
    assert counts == [3, 2, 2]
    single = list(itertools.product(*(range(n) for n in counts)))
    queue = []

    def multinomial(rows, n):
        assert n == 1
        return queue.pop(0)

    monkeypatch.setattr(hard.torch, "multinomial", multinomial)
    found = []
    for draws in itertools.product(single, repeat=1 + (baseline == "other")):
        chance = 1.0
        for z in draws:
            picked = torch.zeros(batch.target_in.shape, dtype=torch.long)
            for word, (row, step) in enumerate(PLACES):
                picked[row, step] = z[word]
                chance *= float(p[word, z[word]])
            queue.append(picked.view(-1, 1))
        loss = reinforce_loss(model, batch, baseline)
        found.append((chance, float(loss.detach()), gradient(model, loss)))
        assert not queue
    assert sum(chance for chance, _, _ in found) == pytest.approx(1)
    return found


def moments(found):
    """The mean gradient, and the variance summed over its numbers."""
    mean = sum(chance * g for chance, _, g in found)
    spread = sum(chance * (g - mean).square().sum() for chance, _, g in found)
    return mean, float(spread)


@pytest.fixture(scope="module")
def listed():
    """Model, batch, exact loss and gradient, all draws for each baseline."""
    model, batch = tiny(), collate(PAIRS)
    p, losses = by_position(model, batch)
    expected = (p * losses).sum(1).mean()
    with pytest.MonkeyPatch.context() as patch:
        draws = {b: all_draws(model, batch, b, patch) for b in BASELINES}
    exact = gradient(model, expected)
    return model, batch, float(expected.detach()), exact, draws


def close(a, b):
    # masked_softmax computes in float32, whatever it is given.
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("baseline", ["none", "other"])
def test_the_mean_over_all_draws_is_the_exact_gradient(listed, baseline):
    *_, exact, draws = listed
    assert exact.abs().max() > 0.01
    close(moments(draws[baseline])[0], exact)


def test_the_mean_as_baseline_shrinks_the_scores_part_by_one_word_in_n(
    listed,
):
    model, batch, _, exact, draws = listed
    # The part that reaches the weights p(z) only: losses held fixed.
    p, losses = by_position(model, batch)
    scores_part = gradient(model, (p * losses.detach()).sum(1).mean())
    n = len(PLACES)
    close(moments(draws["mean"])[0], exact - scores_part / n)
    assert scores_part.abs().max() > 0.01


def test_a_second_draw_as_baseline_lowers_the_variance(listed):
    *_, draws = listed
    variance = {b: moments(draws[b])[1] for b in BASELINES}
    # "other" averages two draws: half the variance would come from that.
    assert variance["other"] < 0.7 * variance["none"] / 2
    assert variance["mean"] < variance["none"]


@pytest.mark.parametrize("baseline", BASELINES)
def test_its_value_is_the_loss_of_what_was_drawn(listed, baseline):
    model, batch, expected, _, draws = listed
    mean = sum(chance * loss for chance, loss, _ in draws[baseline])
    assert mean == pytest.approx(expected)
    _, losses = by_position(model, batch)
    by_hand = (losses[0, 0] + losses[1, 0] + losses[2, 0]) / 3
    # The first entry draws position 0 for every word.
    assert draws[baseline][0][1] == pytest.approx(float(by_hand.detach()))


@pytest.mark.parametrize("baseline", BASELINES)
def test_real_draws_agree_as_the_number_of_copies_grows(baseline):
    model, copies = tiny(), 4000
    batch = collate(PAIRS * copies)
    p, losses = by_position(model, collate(PAIRS))
    exact = gradient(model, (p * losses).sum(1).mean())
    torch.manual_seed(0)
    loss = reinforce_loss(model, batch, baseline)
    error = (gradient(model, loss) - exact).norm() / exact.norm()
    assert error < 10 / math.sqrt(copies)
    expected = (p * losses).sum(1).mean().detach()
    assert abs(float(loss.detach() - expected)) < 3 / math.sqrt(copies)


def test_padding_is_neither_drawn_nor_counted():
    model = tiny()
    long, short = PAIRS
    for pairs in ([short], [short, long]):
        batch = collate(pairs)
        short_row = batch.source_mask.sum(1).argmin()
        seen = []

        def multinomial(rows, n, draw=torch.multinomial, seen=seen):
            picked = draw(rows, n)
            seen.append(picked)
            return picked

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(hard.torch, "multinomial", multinomial)
            for seed in range(15):
                torch.manual_seed(seed)
                reinforce_loss(model, batch, "none")
        steps = batch.target_in.shape[1]
        rows = torch.stack(seen).view(len(seen), -1, steps)
        drawn = rows[:, short_row].unique().tolist()
        assert drawn == [0, 1]


def test_a_drawn_position_is_one_that_decode_would_use():
    model = tiny(selection="hard").train()  # no dropout: only the draw
    batch = collate(PAIRS)
    memory = model.encode(batch.source, batch.source_mask)
    used = {
        tuple(model.decode(memory, batch.target_in)[1].argmax(-1)[1].tolist())
        for _ in range(60)
    }
    assert used == set(itertools.product(range(2), repeat=2))
    assert batch.target_in[0, 0] == SOS


def test_an_unknown_baseline_is_named():
    with pytest.raises(ValueError, match=r"baseline must be one of .*'best'"):
        reinforce_loss(tiny(), collate(PAIRS), "best")


@pytest.mark.parametrize(
    "changes",
    [
        {"attention": "none", "query": "before"},
        {"query": "before"},
        {"input_feeding": True},
        {"coverage": True},
    ],
)
def test_decoders_whose_draws_meet_are_refused(changes):
    with pytest.raises(ValueError, match="draws do not meet"):
        reinforce_loss(tiny(**changes), collate(PAIRS))
