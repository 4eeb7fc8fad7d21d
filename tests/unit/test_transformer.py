"""The Transformer: its parts against torch's, its masks, its cache."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from s2s_lib import transformer
from s2s_lib.batches import pad
from s2s_lib.captions import PIXELS
from s2s_lib.embeddings import ScaledEmbedding
from s2s_lib.search import beam, greedy, n_best
from s2s_lib.storage import load_tensors, save_tensors
from s2s_lib.transformer import (
    POSITIONS,
    DecoderOnlyModel,
    KeysValues,
    Layer,
    LayerNorm,
    MaskedLanguageModel,
    MultiHeadAttention,
    TransformerConfig,
    TransformerModel,
    causal_mask,
    mask_words,
    rotate,
    sinusoidal,
)
from s2s_lib.vocab import EOS, PAD, SOS, UNK, Vocabulary

SMALL = TransformerConfig(
    hidden_size=8, num_heads=2, num_layers=2, feedforward_size=12
)
SOURCES = [[4, 5, 6, 7, 2], [2], [8, 9, 2]]
few = settings(max_examples=25, deadline=None)
TARGETS = torch.tensor([[SOS, 4, 5, 6], [SOS, 7, 7, 8], [SOS, 9, 4, 5]])


def make(config=SMALL, seed=0):
    torch.manual_seed(seed)
    kind = DecoderOnlyModel if config.decoder_only else TransformerModel
    return kind(11, 10, config).eval()


# --- attention --------------------------------------------------------------


@few
@given(
    batch=st.integers(1, 3),
    queries=st.integers(1, 5),
    keys=st.integers(1, 5),
    heads=st.sampled_from([1, 2, 4]),
    seed=st.integers(0, 1000),
)
def test_multi_head_attention_is_torchs(batch, queries, keys, heads, seed):
    """Outputs, weights and gradients, with and without weights."""
    torch.manual_seed(seed)
    own = MultiHeadAttention(8, heads)
    peer = nn.MultiheadAttention(8, heads, batch_first=True)
    peer.load_state_dict(own.state_dict())
    own.load_state_dict(peer.state_dict())
    mask = torch.rand(batch, 1, 1, keys) < 0.6
    mask[..., 0] = True
    states = torch.randn(batch, queries, 8)
    source = torch.randn(batch, keys, 8)
    expected, peers_weights = peer(
        states,
        source,
        source,
        key_padding_mask=~mask[:, 0, 0],
        average_attn_weights=False,
    )
    for need_weights in (True, False):
        memory = own.project_keys(source)
        out, weights = own(states, memory, mask, need_weights=need_weights)
        torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)
        own.zero_grad()
        out.square().sum().backward()
        grads = [p.grad.clone() for p in own.parameters()]
        if need_weights:
            torch.testing.assert_close(weights, peers_weights)
            first = grads
        else:
            assert weights is None
            for one, other in zip(first, grads, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_row_with_nothing_to_attend_to_is_the_same_on_both_paths(dtype):
    torch.manual_seed(0)
    own = MultiHeadAttention(8, 2).to(dtype)
    states = torch.randn(2, 3, 8, dtype=dtype)
    memory = own.project_keys(states)
    mask = torch.zeros(2, 1, 3, 3, dtype=torch.bool)
    mask[0, :, 1:] = True
    slow, weights = own(states, memory, mask)
    fast, _ = own(states, memory, mask, need_weights=False)
    torch.testing.assert_close(slow, fast, rtol=0, atol=2e-2)
    assert not weights[1].any()
    bias = own.out_proj.bias.expand(3, -1)
    torch.testing.assert_close(fast[1], bias, rtol=0, atol=1e-6)


def test_heads_that_do_not_divide_the_size_are_refused():
    with pytest.raises(ValueError, match=r"8 .* 3 heads"):
        MultiHeadAttention(8, 3)


def test_layer_norm_is_torchs():
    torch.manual_seed(0)
    own, peer = LayerNorm(6), nn.LayerNorm(6)
    with torch.no_grad():
        for parameter in own.parameters():
            parameter.normal_()
    peer.load_state_dict(own.state_dict())
    x = 3 + 5 * torch.randn(2, 4, 6)
    torch.testing.assert_close(own(x), peer(x))


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_a_layer_is_torchs(norm):
    """Encoder and decoder layer, with the parameters copied by name."""
    torch.manual_seed(0)
    config = replace(SMALL, norm=norm)
    options = dict(
        d_model=8, nhead=2, dim_feedforward=12, dropout=0.0,
        batch_first=True, norm_first=norm == "pre",
    )  # fmt: skip
    x, source = torch.randn(3, 4, 8), torch.randn(3, 5, 8)
    mask, causal = torch.rand(3, 5) < 0.5, causal_mask(4, 4)
    mask[:, 0] = True
    for cross in (False, True):
        own = Layer(config, cross)
        if cross:
            peer = nn.TransformerDecoderLayer(**options)
            names = {
                "self_attn": own.self_attention,
                "multihead_attn": own.cross_attention,
                "norm1": own.self_norm,
                "norm2": own.cross_norm,
                "norm3": own.feedforward_norm,
            }
        else:
            peer = nn.TransformerEncoderLayer(**options)
            names = {
                "self_attn": own.self_attention,
                "norm1": own.self_norm,
                "norm2": own.feedforward_norm,
            }
        names |= {
            "linear1": own.feedforward[0], "linear2": own.feedforward[2]
        }  # fmt: skip
        with torch.no_grad():
            for parameter in own.parameters():
                parameter.normal_(std=0.5)
        for name, module in names.items():
            getattr(peer, name).load_state_dict(module.state_dict())
        assert sum(p.numel() for p in own.parameters()) == sum(
            p.numel() for p in peer.parameters()
        )
        if cross:
            expected = peer(
                x,
                source,
                tgt_mask=~causal,
                memory_key_padding_mask=~mask,
            )
            found = own(
                x,
                causal,
                source=own.cross_attention.project_keys(source),
                source_mask=mask[:, None, None],
            )[0]
        else:
            expected = peer(x, src_mask=~causal)
            found = own(x, causal)[0]
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


# --- positions --------------------------------------------------------------


def test_sinusoidal_positions_are_those_of_the_paper():
    table = sinusoidal(torch.arange(7), 6)  # table: (7, 6)
    for p in range(7):
        for i in range(3):
            angle = p / 10_000 ** (2 * i / 6)
            assert float(table[p, 2 * i]) == pytest.approx(math.sin(angle))
            assert float(table[p, 2 * i + 1]) == pytest.approx(math.cos(angle))


def test_waves_have_an_even_size():
    with pytest.raises(ValueError, match="even, not 7"):
        sinusoidal(torch.arange(3), 7)
    with pytest.raises(ValueError, match="even, not 5"):
        rotate(torch.zeros(1, 1, 3, 5), torch.arange(3)[None])


@few
@given(shift=st.integers(0, 50), seed=st.integers(0, 100))
def test_rotary_scores_depend_on_the_distance_alone(shift, seed):
    torch.manual_seed(seed)
    q, k = torch.randn(1, 2, 5, 8), torch.randn(1, 2, 5, 8)
    positions = torch.tensor([[0, 3, 4, 9, 11]])
    near = rotate(q, positions) @ rotate(k, positions).mT
    far = rotate(q, positions + shift) @ rotate(k, positions + shift).mT
    torch.testing.assert_close(near, far, rtol=1e-4, atol=1e-4)
    # Turning keeps lengths, and position 0 is not turned at all.
    turned = rotate(q, positions)
    torch.testing.assert_close(turned.norm(dim=-1), q.norm(dim=-1))
    assert torch.equal(turned[:, :, 0], q[:, :, 0])
    # As complex numbers: multiplied by e^(i p / 10000^(2i/8)).
    waves = 10_000.0 ** (-torch.arange(0, 8, 2) / 8)
    angles = positions[0, :, None] * waves
    pairs = torch.view_as_complex(q.unflatten(-1, (4, 2)).contiguous())
    product = pairs * torch.polar(torch.ones_like(angles), angles)
    expected = torch.view_as_real(product).flatten(-2)
    torch.testing.assert_close(turned, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("positions", POSITIONS)
def test_order_matters_to_an_encoder_with_positions_alone(positions):
    model = make(replace(SMALL, positions=positions))
    ids = torch.tensor([[4, 5, 6, 7]])
    order = torch.tensor([2, 0, 3, 1])
    mask = torch.ones(1, 4, dtype=torch.bool)
    with torch.no_grad():
        states, _ = model.encoder(ids, mask)
        shuffled, _ = model.encoder(ids[:, order], mask)
    gap = float((shuffled - states[:, order]).abs().max())
    assert (gap < 1e-5) == (positions == "none")


@pytest.mark.parametrize("positions", ["rotary", "sinusoidal"])
def test_rotary_layers_cannot_tell_where_a_text_begins(positions):
    """Queries and keys are turned alike, so that only distances count."""
    model = make(replace(SMALL, positions=positions))
    tokens, places = torch.tensor([[4, 5, 6, 7, 4]]), torch.arange(5)[None]
    with torch.no_grad():
        here, _, _ = model.decoder(tokens, places, causal_mask(5, 5))
        there, _, _ = model.decoder(tokens, places + 7, causal_mask(5, 5))
    gap = float((here - there).abs().max())
    assert (gap < 1e-5) == (positions == "rotary")


def test_learned_positions_end():
    model = make(replace(SMALL, positions="learned", max_positions=4))
    mask = torch.ones(1, 4, dtype=torch.bool)
    memory = model.encode(torch.full((1, 4), 5), mask)
    longer = torch.ones(1, 5, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"position 4 .* 4 rows"):
        model.encode(torch.full((1, 5), 5), longer)
    with pytest.raises(ValueError, match=r"position 4"):
        greedy(model, memory, 9)


@pytest.mark.parametrize("decoder_only", [False, True])
def test_translations_end_where_learned_positions_end(decoder_only):
    """A model that never ends a sentence is cut off, not refused."""
    model = make(
        replace(
            SMALL,
            positions="learned",
            max_positions=9,
            decoder_only=decoder_only,
        )
    )
    with torch.no_grad():
        model.output.bias[EOS] = -1e9
    vocab = Vocabulary([f"w{i}" for i in range(7)])
    sentences = [["w1"], ["w1", "w2", "w3"]]
    for width in (1, 2):
        for asked in (None, 50, 10**30, 6):
            found = n_best(
                model, sentences, vocab, beam_size=width, max_steps=asked
            )
            for sentence, (best, *_) in zip(sentences, found, strict=True):
                room = 9 - (len(sentence) + 1 if decoder_only else 0)
                assert len(best.tokens) == min(room, asked or room)
                assert not best.finished
    with pytest.raises(ValueError, match="max_steps must be 1 or more, not 0"):
        n_best(model, sentences, vocab, max_steps=0)


def test_what_would_mix_sentences_is_refused():
    memory = make().encode(*pad([[5, 6, 7]] * 4))
    for read in (make().decode, make().maps):
        with pytest.raises(ValueError, match="2 targets for 4 sources"):
            read(memory, torch.full((2, 4), 5))
    attention = make().decoder.layers[0].cross_attention
    states = torch.zeros(2, 1, SMALL.hidden_size)
    with pytest.raises(ValueError, match="2 rows ask 4"):
        attention(states, memory.layers[0], None, None, False)


@pytest.mark.parametrize("encoder", ["text", "image"])
def test_what_is_trained_has_a_gradient(encoder):
    """Several processes would wait for one that never comes."""
    model = make(replace(SMALL, encoder=encoder))
    memory = model.encode(*pad([[*[5] * PIXELS, EOS]]))
    model.decode(memory, torch.full((1, 2), 5))[0].sum().backward()
    for name, weights in model.named_parameters():
        assert weights.requires_grad == (weights.grad is not None), name


# --- masks ------------------------------------------------------------------


@few
@given(queries=st.integers(0, 6), past=st.integers(0, 6))
def test_a_query_sees_itself_and_what_is_before(queries, past):
    mask = causal_mask(queries, past + queries)
    for q in range(queries):
        row = [k <= past + q for k in range(past + queries)]
        assert mask[q].tolist() == row


@pytest.mark.parametrize("decoder_only", [False, True])
@pytest.mark.parametrize("positions", POSITIONS)
def test_several_steps_from_a_cache_are_all_at_once(decoder_only, positions):
    """The cache is as good as the tokens, wherever it is cut."""
    config = replace(SMALL, decoder_only=decoder_only, positions=positions)
    model = make(config)
    with torch.no_grad():
        memory = model.encode(*pad(SOURCES))
        whole, _ = model.hidden(memory, TARGETS)
        for cut in (1, 2, 3):
            if decoder_only:
                first, state = model._run(
                    memory, TARGETS[:, :cut], memory.layers
                )
                rest, state = model._run(memory, TARGETS[:, cut:], state)
            else:
                first, state, _ = model._run(
                    memory, TARGETS[:, :cut], None, ()
                )
                rest, state, _ = model._run(
                    memory, TARGETS[:, cut:], state, ()
                )
            joined = torch.cat([first, rest], 1)
            torch.testing.assert_close(joined, whole, rtol=0, atol=1e-5)
            kept = 5 if decoder_only else 0
            assert state[0].keys.shape[-2] == kept + 4


def test_a_decoder_alone_sees_the_pair_as_one_text():
    """Without padding between, source and target are one causal text."""
    model = make(replace(SMALL, decoder_only=True))
    source = torch.tensor([[4, 5, 6, 2]])
    memory = model.encode(source, torch.ones_like(source, dtype=torch.bool))
    logits, weights = model.decode(memory, TARGETS[:1])
    text = torch.cat([source, TARGETS[:1] + model.first_target], 1)
    hidden, _, _ = model.stack(text, torch.arange(8)[None], causal_mask(8, 8))
    expected = model.output(hidden)[:, 4:]
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)
    assert weights is None


@pytest.mark.parametrize("kind", [TransformerModel, DecoderOnlyModel])
def test_sources_that_cannot_be_read_are_refused(kind):
    config = replace(SMALL, decoder_only=kind is DecoderOnlyModel)
    model = make(config)
    ids = torch.tensor([[4, 5], [4, 5]])
    empty = torch.tensor([[True, True], [False, False]])
    gap = torch.tensor([[True, True], [False, True]])
    with pytest.raises(ValueError, match=r"row 1 .* all padding"):
        model.encode(ids, empty)
    with pytest.raises(ValueError, match=r"row 1 .* after padding"):
        model.encode(ids, gap)


# --- weights ----------------------------------------------------------------


@pytest.mark.parametrize("layer", [-1, 0, 1])
def test_weights_returned_are_of_the_layer_asked_for(layer):
    model = make(replace(SMALL, weights_layer=layer))
    memory = model.encode(*pad(SOURCES))
    _, weights = model.decode(memory, TARGETS)
    seen = model.maps(memory, TARGETS)
    assert len(seen) == 2
    assert seen[0].source.shape == (3, 2, 4, 5)
    torch.testing.assert_close(weights, seen[layer].source.mean(1))
    other = seen[1 if layer == 0 else 0].source.mean(1)
    assert float((weights - other).detach().abs().max()) > 1e-3
    # Own weights: a row for each target token, over it and those before.
    own = seen[0].own
    torch.testing.assert_close(own.sum(-1), torch.ones(3, 2, 4))
    assert not own.triu(1).any()


def test_returned_weights_are_the_weights_used():
    """One layer, one head: the values may be replaced by their mean."""
    config = replace(SMALL, num_heads=1, num_layers=1)
    model = make(config)
    memory = model.encode(*pad(SOURCES))
    _, weights = model.decode(memory, TARGETS[:, :1])
    (layer,) = memory.layers
    mean = torch.einsum("bs,bhsv->bhv", weights[:, 0], layer.values)

    def with_values(values):
        values = values[:, :, None].expand_as(layer.values)
        changed = memory._replace(layers=(KeysValues(layer.keys, values),))
        return model.decode(changed, TARGETS[:, :1])[0]

    logits, _ = model.decode(memory, TARGETS[:, :1])
    torch.testing.assert_close(with_values(mean), logits, atol=1e-5, rtol=0)
    gap = (with_values(mean.flip(0)) - logits).abs().max()
    assert float(gap.detach()) > 1e-3


def test_only_the_layer_that_is_watched_takes_the_slow_path(monkeypatch):
    slow, fast = [], []
    attend, quick = transformer.attend, transformer._fast

    def count_slow(*args):
        slow.append(args[0].shape)
        return attend(*args)

    def count_fast(*args):
        fast.append(args[0].shape)
        return quick(*args)

    monkeypatch.setattr(transformer, "attend", count_slow)
    monkeypatch.setattr(transformer, "_fast", count_fast)
    model = make()
    memory = model.encode(*pad(SOURCES))
    assert (len(slow), len(fast)) == (0, 2)
    model.decode(memory, TARGETS)
    # The watched layer's own attention and its cross-attention.
    assert (len(slow), len(fast)) == (2, 4)


# --- the cache --------------------------------------------------------------


@pytest.mark.parametrize("decoder_only", [False, True])
def test_each_token_is_projected_once_while_decoding(
    decoder_only, monkeypatch
):
    """Source once, each target token once, in every layer."""
    model = make(replace(SMALL, decoder_only=decoder_only))
    seen, project = [], MultiHeadAttention.project_keys

    def count(self, states, positions=None):
        seen.append(states.shape[1])
        return project(self, states, positions)

    monkeypatch.setattr(MultiHeadAttention, "project_keys", count)
    memory = model.encode(*pad(SOURCES))
    # Encoder and cross-attention of two layers each, or the one stack.
    assert seen == [5] * (2 if decoder_only else 4)
    seen.clear()
    steps, step = 0, model.step

    def count_steps(*args):
        nonlocal steps
        steps += 1
        return step(*args)

    monkeypatch.setattr(model, "step", count_steps)
    greedy(model, memory, 6)
    assert seen == [1] * 2 * steps
    seen.clear()
    steps = 0
    beam(model, memory, 3, 6)
    assert seen == [1] * 2 * steps


# --- configuration ----------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(norm="middle"), r"norm must be one of .* not 'middle'"),
        (dict(positions="waves"), r"positions must be .* not 'waves'"),
        (dict(encoder="sound"), r"encoder must be one of .* not 'sound'"),
        (dict(num_layers=0), r"num_layers must be 1 or more, not 0"),
        (dict(num_heads=3), r"multiple of 3 .* not 128"),
        (dict(hidden_size=5, num_heads=5), r"must be even"),
        (
            dict(hidden_size=6, num_heads=3, positions="rotary"),
            None,
        ),
        (
            dict(hidden_size=10, num_heads=2, positions="rotary"),
            r"multiple of 4 .* not 10",
        ),
        (dict(dropout=1.0), r"dropout .* below 1, not 1.0"),
        (dict(weights_layer=2), r"weights_layer must be from -2 to 1"),
        (dict(decoder_only=True, encoder="image"), r"decoder_only reads"),
    ],
)
def test_settings_that_cannot_be_are_refused(options, message):
    if message is None:
        assert TransformerConfig(**options)
        return
    with pytest.raises(ValueError, match=message):
        TransformerConfig(**options)


# --- the encoder alone ------------------------------------------------------


@few
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=5),
    share=st.sampled_from([0.01, 0.15, 0.5, 1.0]),
    seed=st.integers(0, 1000),
)
def test_hidden_words_are_real_words(lengths, share, seed):
    ids, mask = pad([[7] * length for length in lengths])
    generator = torch.Generator().manual_seed(seed)
    tokens, hidden = mask_words(ids, mask, share, generator)
    assert hidden.any(1).all() and not hidden[~mask].any()
    assert (tokens[hidden] == UNK).all()
    assert torch.equal(tokens[~hidden], ids[~hidden])
    if share == 1.0:
        assert torch.equal(hidden, mask)


def test_the_share_of_hidden_words_is_the_share():
    ids, mask = pad([[7] * 50] * 200)
    generator = torch.Generator().manual_seed(0)
    _, hidden = mask_words(ids, mask, 0.15, generator)
    assert float(hidden.float().mean()) == pytest.approx(0.15, abs=0.01)
    with pytest.raises(ValueError, match=r"share .* not 0"):
        mask_words(ids, mask, 0.0)


def test_a_masked_word_is_guessed_from_both_sides():
    torch.manual_seed(0)
    model = MaskedLanguageModel(11, SMALL).eval()
    ids = torch.tensor([[4, 5, UNK, 6, 7]])
    mask = torch.ones_like(ids, dtype=torch.bool)
    logits = model(ids, mask)
    assert logits.shape == (1, 5, 11)
    for position in (0, 4):
        changed = ids.clone()
        changed[0, position] = 9
        gap = (model(changed, mask) - logits)[0, 2].abs().max().detach()
        assert float(gap) > 1e-4
    # Padding behind the sentence is not seen.
    longer = torch.cat([ids, torch.tensor([[8, PAD]])], 1)
    more = torch.cat([mask, torch.zeros(1, 2, dtype=torch.bool)], 1)
    torch.testing.assert_close(
        model(longer, more)[:, :5], logits, rtol=0, atol=1e-5
    )


# One table for three uses


def test_shared_embeddings_are_one_table():
    config = replace(SMALL, shared_embeddings=True)
    model, apart = (
        TransformerModel(9, 9, config),
        TransformerModel(9, 9, SMALL),
    )
    table = model.output.weight
    assert table is model.decoder.embedding.weight
    assert table is model.encoder.stack.embedding.weight
    numbers = [sum(p.numel() for p in m.parameters()) for m in (model, apart)]
    assert numbers[1] - numbers[0] == 2 * table.numel()


def test_shared_embeddings_are_written_and_read(tmp_path):
    config = replace(SMALL, shared_embeddings=True)
    model = TransformerModel(9, 9, config)
    save_tensors(tmp_path / "m", dict(model.state_dict()), {})
    other = TransformerModel(9, 9, config)
    other.load_state_dict(load_tensors(tmp_path / "m")[0])
    assert torch.equal(other.output.weight, model.output.weight)
    assert other.output.weight is other.encoder.stack.embedding.weight


def test_given_vectors_are_the_words_vectors_and_stay_as_they_are():
    given = torch.randn(5, 9)
    before = given.clone()
    table = ScaledEmbedding.from_pretrained(given)
    torch.testing.assert_close(table(torch.arange(5)), before)
    assert torch.equal(given, before)
    assert not table.weight.requires_grad  # frozen, as nn.Embedding does


def test_shared_embeddings_need_one_vocabulary():
    config = replace(SMALL, shared_embeddings=True)
    with pytest.raises(ValueError, match=r"one vocabulary .* 9 and 8 ids"):
        TransformerModel(9, 8, config)
    for change in ({"decoder_only": True}, {"encoder": "image"}):
        with pytest.raises(ValueError, match="shared_embeddings needs"):
            replace(config, **change)
