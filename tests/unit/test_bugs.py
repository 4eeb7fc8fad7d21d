"""Each mistake does what it says, and nothing else."""

import pytest
import torch

from s2s_lib.batches import EncodedPair, collate
from s2s_lib.bugs import BUGS, inject, spoil
from s2s_lib.recurrent import RecurrentConfig, RecurrentModel
from s2s_lib.vocab import EOS

PAIRS = [
    EncodedPair([4, 5, 6, EOS], [4, 6, 5, EOS]),
    EncodedPair([6, EOS], [5, EOS]),
]
EQUAL = [
    EncodedPair([4, 5, 6, EOS], [4, 6, 5, EOS]),
    EncodedPair([6, 6, 4, EOS], [5, 4, 4, EOS]),
]


def model_of(attention="dot", bug=None, **changes):
    torch.manual_seed(2)
    config = RecurrentConfig(
        embedding_size=5,
        hidden_size=6,
        attention=attention,
        query=changes.pop("query", "after"),
        **changes,
    )
    model = RecurrentModel(8, 8, config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)  # far from uniform weights
    return model if bug is None else inject(model, bug)


@torch.no_grad()
def at_once(model, batch):
    memory = model.encode(batch.source, batch.source_mask)
    return model.decode(memory, batch.target_in)


@torch.no_grad()
def in_steps(model, batch):
    memory = model.encode(batch.source, batch.source_mask)
    state, logits, weights = None, [], []
    for token in batch.target_in.T:
        row, state, used = model.step(memory, token, state)
        logits.append(row)
        weights.append(used)
    return torch.stack(logits, 1), torch.stack(weights, 1)


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bug", [b for b in BUGS if b != "no_tanh"])
def test_the_model_is_changed_in_place(bug):
    model = model_of()
    assert inject(model, bug) is model


def test_without_a_mask_padding_gets_weight():
    batch = collate(PAIRS)
    _, right = at_once(model_of(), batch)
    _, wrong = at_once(model_of(bug="no_mask"), batch)
    assert (right[1, :, 2:] == 0).all()
    assert (wrong[1, :, 2:] > 0).all()
    close(wrong.sum(-1), torch.ones(2, 4))


@pytest.mark.parametrize("run", [at_once, in_steps])
def test_without_padding_the_mask_is_not_missed(run):
    batch = collate(EQUAL)
    for right, wrong in zip(
        run(model_of(), batch),
        run(model_of(bug="no_mask"), batch),
        strict=True,
    ):
        close(right, wrong)


def test_reading_padding_is_having_no_mask_anywhere():
    batch = collate(PAIRS)
    model = model_of(bug="reads_padding")
    memory = model.encode(batch.source, batch.source_mask)
    assert memory.mask.all()
    everything = torch.ones_like(batch.source_mask)
    right = model_of().encode(batch.source, everything)
    close(memory.states, right.states)
    assert (memory.states[1, 2:].abs() > 0).any()
    _, weights = at_once(model, batch)
    assert (weights[1, :, 2:] > 0).all()
    close(weights.sum(-1), torch.ones(2, 4))
    full = collate(EQUAL)
    for right, wrong in zip(
        at_once(model_of(), full), at_once(model, full), strict=True
    ):
        close(right, wrong)


def test_on_the_wrong_axis_columns_sum_to_one_and_rows_do_not():
    batch = collate(PAIRS)
    _, right = at_once(model_of(), batch)
    _, wrong = at_once(model_of(bug="wrong_axis"), batch)
    close(right.sum(-1), torch.ones(2, 4))
    close(wrong.sum(1), batch.source_mask.float())
    assert not torch.allclose(wrong.sum(-1), torch.ones(2, 4), atol=0.05)


def test_on_the_wrong_axis_a_single_step_weighs_every_word_fully():
    batch = collate(PAIRS)
    _, wrong = in_steps(model_of(bug="wrong_axis"), batch)
    close(wrong, batch.source_mask[:, None].float().expand(-1, 4, -1))


def test_without_tanh_every_step_looks_alike():
    batch = collate(PAIRS)
    _, right = at_once(model_of("additive"), batch)
    _, wrong = at_once(model_of("additive", "no_tanh"), batch)
    assert (right[:, 1:] - right[:, :1]).abs().max() > 1e-3
    close(wrong, wrong[:, :1].expand_as(wrong))
    # Only the query drops out of the softmax; the keys still count.
    score = model_of("additive").decoder.score
    model = model_of("additive")
    keys = model.encode(batch.source, batch.source_mask).keys
    by_hand = (keys @ score.v.weight[0]).detach()
    by_hand = by_hand.masked_fill(~batch.source_mask, -1e9).softmax(-1)
    close(wrong[:, 0], by_hand)


def test_no_tanh_is_a_mistake_of_additive_attention():
    with pytest.raises(ValueError, match='attention="additive"'):
        model_of("dot", "no_tanh")


def test_a_late_query_asks_with_the_state_of_the_step_before():
    batch = collate(PAIRS)
    _, right = at_once(model_of(), batch)
    model = model_of(bug="late_query")
    _, wrong = at_once(model, batch)
    close(wrong[:, 1:], right[:, :-1])
    close(wrong[:, :1], right[:, -1:])  # rolled: the first asks with the last
    assert (wrong - right).abs().max() > 1e-3


def test_a_late_query_is_late_in_training_only():
    batch = collate(PAIRS)
    model = model_of(bug="late_query")
    logits, weights = in_steps(model, batch)
    for mine, right in zip(
        (logits, weights), at_once(model_of(), batch), strict=True
    ):
        close(mine, right)
    assert (at_once(model, batch)[0] - logits).abs().max() > 1e-3


@pytest.mark.parametrize("run", [at_once, in_steps])
def test_keys_are_projected_embeddings(run):
    batch = collate(PAIRS)
    model = model_of(bug="keys_from_embeddings")
    memory = model.encode(batch.source, batch.source_mask)
    words = model.encoder.embedding(batch.source)
    close(memory.keys, words @ model.decoder.score.key.weight.T)
    # The values and the first state are those of the right model.
    right = model_of().encode(batch.source, batch.source_mask)
    close(memory.states, right.states)
    close(memory.initial[0], right.initial[0])
    # Equal words get equal keys, wherever they stand; states differ.
    twice = collate(EQUAL)
    again = model.encode(twice.source, twice.source_mask)
    close(again.keys[1, 0], again.keys[1, 1])
    assert (again.states[1, 0] - again.states[1, 1]).abs().max() > 1e-3
    _, weights = run(model, batch)
    close(weights.sum(-1), torch.ones(2, 4))
    assert (weights[1, :, 2:] == 0).all()


def test_keys_from_embeddings_are_trained():
    batch = collate(PAIRS)
    model = model_of(bug="keys_from_embeddings")
    memory = model.encode(batch.source, batch.source_mask)
    model.decode(memory, batch.target_in)[0].square().sum().backward()
    assert model.decoder.score.key.weight.grad.abs().max() > 0


@pytest.mark.parametrize(
    "bug", ["no_mask", "reads_padding", "wrong_axis", "late_query"]
)
def test_no_weight_is_added_or_changed(bug):
    right, wrong = model_of().state_dict(), model_of(bug=bug).state_dict()
    assert right.keys() == wrong.keys()
    assert all(torch.equal(right[name], wrong[name]) for name in right)


@pytest.mark.parametrize("run", [at_once, in_steps])
def test_no_end_changes_the_data_and_not_the_model(run):
    batch = collate(PAIRS)
    for right, wrong in zip(
        run(model_of(), batch),
        run(model_of(bug="no_end"), batch),
        strict=True,
    ):
        assert torch.equal(right, wrong)
    spoilt = spoil(PAIRS, "no_end")
    assert [pair.source for pair in spoilt] == [p.source for p in PAIRS]
    assert [pair.target for pair in spoilt] == [[4, 6, 5], [5]]
    assert spoil([EncodedPair([4], [EOS])], "no_end")[0].target == [EOS]


@pytest.mark.parametrize("name", ["none", *(b for b in BUGS if b != "no_end")])
def test_other_bugs_leave_the_data_alone(name):
    assert spoil(PAIRS, name) == PAIRS


def test_an_unknown_bug_is_named():
    with pytest.raises(ValueError, match=r"bug must be one of .*'typo'"):
        model_of(bug="typo")


def test_a_model_without_attention_cannot_have_them():
    with pytest.raises(ValueError, match="this model has none"):
        model_of("none", "no_mask", query="before")
