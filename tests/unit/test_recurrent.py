"""Own cells, and an encoder that padding cannot reach, against torch's."""

import itertools

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from s2s_lib.recurrent import (
    Encoder,
    GRUCell,
    LSTMCell,
    RecurrentConfig,
    RecurrentModel,
    RNNCell,
    computed_rows,
    mirror,
    of_real,
)
from s2s_lib.vocab import PAD

CELLS = [
    (RNNCell, nn.RNNCell),
    (GRUCell, nn.GRUCell),
    (LSTMCell, nn.LSTMCell),
]


def run(cell, x, h, c):
    """Three steps, then the gradients of everything that has one."""
    state = (h, c) if isinstance(cell, LSTMCell | nn.LSTMCell) else h
    for _ in range(3):
        state = cell(x, state)
    out = torch.cat(state if isinstance(state, tuple) else (state,), 1)
    wanted = [x, h, *cell.parameters()]
    (out * torch.arange(out.numel()).view_as(out)).sum().backward()
    return [out, *(tensor.grad for tensor in wanted)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sizes", [(1, 1, 1), (3, 4, 5), (2, 7, 3)])
@pytest.mark.parametrize(("own", "torchs"), CELLS)
def test_own_cell_is_torchs(own, torchs, sizes, dtype):
    torch.manual_seed(0)
    batch, input_size, hidden_size = sizes
    cell = own(input_size, hidden_size).to(dtype)
    peer = torchs(input_size, hidden_size).to(dtype)
    peer.load_state_dict(cell.state_dict())
    results = []
    for module in (cell, peer):
        torch.manual_seed(1)
        x, h, c = (
            torch.randn(batch, size, dtype=dtype, requires_grad=True)
            for size in (input_size, hidden_size, hidden_size)
        )
        results.append(run(module, x, h, c))
    assert len(results[0]) == 7
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    for mine, theirs in zip(*results, strict=True):
        torch.testing.assert_close(
            mine, theirs, rtol=tolerance, atol=tolerance
        )


@pytest.mark.parametrize(("own", "torchs"), CELLS)
def test_own_cell_starts_in_torchs_range(own, torchs):
    for name, mine in own(30, 25).named_parameters():
        theirs = torchs(30, 25).get_parameter(name)
        assert mine.shape == theirs.shape
        assert 0.15 < float(mine.detach().abs().max()) <= 0.2  # 1 / sqrt(25)


def torchs_encoder(encoder, config, source, mask):
    """The same weights in one torch.nn loop over packed sequences."""
    peer = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[config.cell](
        config.embedding_size,
        config.hidden_size,
        config.num_layers,
        batch_first=True,
        bidirectional=config.bidirectional,
    ).to(encoder.embedding.weight.dtype)
    with torch.no_grad():
        for layer, readers in enumerate(encoder.layers):
            for reader, suffix in zip(readers, ("", "_reverse"), strict=False):
                for name, weight in reader.named_parameters():
                    name = name.replace("l0", f"l{layer}") + suffix
                    peer.get_parameter(name).copy_(weight)
    packed = pack_padded_sequence(
        encoder.embedding(source),
        mask.sum(1),
        batch_first=True,
        enforce_sorted=False,
    )
    states, final = peer(packed)
    states, _ = pad_packed_sequence(
        states, batch_first=True, total_length=source.shape[1]
    )
    final = final[0] if config.cell == "lstm" else final
    # final: (layers * directions, batch, hidden)
    return states, final.transpose(0, 1).flatten(1)


@pytest.mark.parametrize(
    ("cell", "bidirectional", "num_layers", "lengths"),
    list(
        itertools.product(
            ("rnn", "gru", "lstm"),
            (True, False),
            (1, 3),
            ([1], [4, 1, 6, 3], [3, *[6] * 9, 5, 1, 6]),
        )
    ),
)
def test_encoder_is_torchs_on_packed_sequences(
    cell, bidirectional, num_layers, lengths
):
    torch.manual_seed(0)
    config = RecurrentConfig(
        cell=cell,
        embedding_size=3,
        hidden_size=4,
        num_layers=num_layers,
        bidirectional=bidirectional,
    )
    encoder = Encoder(9, config).double()
    source = torch.randint(1, 9, (len(lengths), 7))
    mask = torch.arange(7) < torch.tensor(lengths)[:, None]
    states, summary = encoder(source, mask)
    expected = torchs_encoder(encoder, config, source, mask)
    torch.testing.assert_close(states, expected[0], rtol=0, atol=1e-12)
    torch.testing.assert_close(summary, expected[1], rtol=0, atol=1e-12)
    assert summary.shape[1] == encoder.summary_size
    assert states.shape[2] == encoder.state_size


def test_word_vectors_keep_the_order_of_the_batch():
    """Whoever asks the embedding for its output finds each row in place."""
    encoder = Encoder(9, RecurrentConfig(embedding_size=3, hidden_size=4))
    kept = []
    encoder.embedding.register_forward_hook(lambda *found: kept.append(found))
    source = torch.randint(4, 9, (3, 6))
    mask = torch.arange(6) < torch.tensor([2, 6, 4])[:, None]
    states, _ = encoder(source, mask)
    ((_, _, vectors),) = kept
    for row in range(3):
        (slope,) = torch.autograd.grad(
            states[row].square().sum(), vectors, retain_graph=True
        )
        touched = slope.abs().sum(-1) > 0  # touched: (batch, steps)
        assert torch.equal(touched[row], mask[row])
        assert touched.sum() == mask[row].sum()


def test_rows_leave_a_few_together():
    # An eighth of 16 is 2: the first row that is done stays until then.
    assert computed_rows([16, 15, 14, 13, 13, 1]) == [16, 16, 14, 14, 14, 1]
    assert computed_rows([16, 16, 15, 1, 0]) == [16, 16, 16, 1, 0]
    assert computed_rows([3, 3, 2]) == [3, 3, 2]
    assert computed_rows([]) == []


@pytest.mark.parametrize(
    ("lengths", "rows"), [((9, 1, 2), 12), ((9, 8, 9), 27), ((1,), 1)]
)
def test_what_is_made_of_states_skips_much_padding(lengths, rows):
    torch.manual_seed(0)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    states = torch.randn(*mask.shape, 4, requires_grad=True)
    layer, seen = nn.Linear(4, 3), []

    def function(part):
        seen.append(part.shape[:-1].numel())
        return layer(part)

    found, wanted = of_real(function, states, mask), layer(states)
    assert seen == [rows]
    torch.testing.assert_close(found[mask], wanted[mask])
    assert rows == mask.numel() or bool((found[~mask] == 0).all())
    (found,), (wanted,) = (
        torch.autograd.grad(made[mask].square().sum(), states)
        for made in (found, wanted)
    )
    torch.testing.assert_close(found, wanted)


def test_a_gru_cell_with_fewer_digits():
    cell, x, h = GRUCell(4, 3), torch.randn(2, 4), torch.randn(2, 3)
    with torch.autocast("cpu", torch.bfloat16):
        found = cell(x, h)
    torch.testing.assert_close(found.float(), cell(x, h), rtol=0.05, atol=0.05)


def test_mirror_by_hand():
    mask = torch.arange(6) < torch.tensor([4, 6, 1])[:, None]
    assert mirror(mask).tolist() == [
        [3, 2, 1, 0, 4, 5],
        [5, 4, 3, 2, 1, 0],
        [0, 1, 2, 3, 4, 5],
    ]


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_no_gradient_comes_from_padding(cell):
    torch.manual_seed(0)
    config = RecurrentConfig(cell=cell, embedding_size=3, hidden_size=4)
    model = RecurrentModel(9, 9, config)
    # Words 7 and 8 stand behind the ends only, and must learn nothing.
    source = torch.tensor([[4, 5, 2, 7, 8], [6, 2, 8, 8, 7]])
    mask = torch.tensor([[True] * 3 + [False] * 2, [True] * 2 + [False] * 3])
    memory = model.encode(source, mask)
    logits, _ = model.decode(memory, torch.tensor([[1, 4], [1, 5]]))
    (logits.square().sum() + memory.states.sum()).backward()
    grad = model.encoder.embedding.weight.grad
    touched = grad.abs().sum(1) > 0
    assert touched.tolist() == [i in (2, 4, 5, 6) for i in range(9)]
    assert not model.encoder.embedding.weight[PAD].any()


def test_masks_that_no_reader_understands_are_refused():
    model = RecurrentModel(9, 9, RecurrentConfig(hidden_size=4))
    source = torch.full((2, 3), 4)
    with pytest.raises(ValueError, match=r"row 1 .* all padding"):
        model.encode(source, torch.tensor([[True] * 3, [False] * 3]))
    with pytest.raises(ValueError, match="at least one"):
        model.encode(source[:0], source[:0] == 4)
    for row in ([False, True, True], [True, False, True]):
        mask = torch.tensor([[True] * 3, row])
        with pytest.raises(ValueError, match=r"row 1 .* behind"):
            model.encode(source, mask)


@pytest.mark.parametrize("size", [None, 2])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_context_is_all_that_the_decoder_sees(cell, size):
    """Equal C, equal logits: states and mask are not looked at."""
    torch.manual_seed(0)
    config = RecurrentConfig(
        cell=cell, hidden_size=4, context="every_step", context_size=size
    )
    model = RecurrentModel(9, 9, config)
    mask = torch.ones(2, 3, dtype=torch.bool)
    memory = model.encode(torch.randint(4, 9, (2, 3)), mask)
    assert memory.context.shape == (2, size or 8)
    target = torch.tensor([[1, 5, 6]] * 2)
    logits, weights = model.decode(memory, target)
    assert weights is None
    blind = memory._replace(states=memory.states * 0, mask=~memory.mask)
    assert torch.equal(model.decode(blind, target)[0], logits)
    # The same first state with another C: C is part of every input.
    other = memory._replace(context=memory.context.flip(0))
    changed = (model.decode(other, target)[0] - logits).detach()
    assert float(changed.abs().amax(2).min()) > 1e-4


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"cell": "GRU"}, "cell"),
        ({"context": "never"}, "context"),
        ({"hidden_size": 0}, "hidden_size"),
        ({"embedding_size": -1}, "embedding_size"),
        ({"num_layers": 0}, "num_layers"),
        ({"context_size": 0}, "context_size"),
        ({"dropout": 1.0}, "dropout"),
        ({"dropout": -0.1}, "dropout"),
        ({"attention": "mlp"}, "attention"),
        ({"attention": "dot", "query": "during"}, "query"),
        ({"attention": "dot", "selection": "none"}, "selection"),
        ({"query": "after"}, "query='after' needs attention"),
        ({"coverage": True}, "coverage=True needs attention"),
        ({"selection": "hard"}, "selection='hard' needs attention"),
        ({"attention": "dot", "context": "every_step"}, "context"),
        ({"attention": "dot", "input_feeding": True}, 'needs query="after"'),
        (
            {"attention": "location", "coverage": True},
            "does not look at keys",
        ),
        (
            {"shared_embeddings": True, "encoder": "image"},
            "shared_embeddings needs",
        ),
    ],
)
def test_impossible_settings_are_named(settings, named):
    with pytest.raises(ValueError, match=named):
        RecurrentConfig(**settings)


OWN = {"rnn": RNNCell, "gru": GRUCell, "lstm": LSTMCell}


def by_hand(model, memory, target):
    """Logits and weights of one sentence, written out step by step."""
    config, decoder, loop = model.config, model.decoder, model.decoder.loop
    cells = []
    for layer in range(config.num_layers):
        size = getattr(loop, f"weight_ih_l{layer}").shape[1]
        cells.append(OWN[config.cell](size, config.hidden_size).double())
        for name, parameter in cells[-1].named_parameters():
            parameter.data = getattr(loop, f"{name}_l{layer}").data
    state = [
        [part[:, layer] for part in memory.initial]
        for layer in range(config.num_layers)
    ]
    covered = torch.zeros(memory.mask.shape[1], dtype=torch.float64)
    feed = torch.zeros(1, config.hidden_size, dtype=torch.float64)
    logits, used = [], []

    def ask(query):
        keys = decoder.score.project_keys(memory.states)
        if config.coverage:
            keys = keys + covered[None, :, None] * decoder.covered
        energies = decoder.score(query[:, None], keys)[0, 0]
        real = int(memory.mask.sum())
        weights = torch.zeros(memory.mask.shape[1], dtype=torch.float64)
        weights[:real] = energies[:real].softmax(0)
        used.append(weights)
        return (weights[:, None] * memory.states[0]).sum(0, keepdim=True)

    for token in target[0]:
        x = decoder.embedding.weight[token][None]
        if config.shared_embeddings:
            x = x * config.embedding_size**0.5
        if config.query == "before":
            x = torch.cat([x, ask(state[-1][0])], 1)
        elif config.input_feeding:
            x = torch.cat([x, feed], 1)
        for layer, cell in enumerate(cells):
            old = state[layer]
            new = cell(x, tuple(old) if len(old) > 1 else old[0])
            state[layer] = list(new) if len(old) > 1 else [new]
            x = state[layer][0]
        if config.query == "after":
            both = torch.cat([ask(x), x], 1)
            x = feed = torch.tanh(both @ decoder.combine.weight.T)
        covered = covered + used[-1]
        if config.shared_embeddings:
            words = model.encoder.embedding.weight
            x = x @ decoder.projection.weight.T
            logits.append((x @ words.T + decoder.output.bias)[0])
        else:
            logits.append(decoder.output(x)[0])
    return torch.stack(logits)[None], torch.stack(used)[None]


@pytest.mark.parametrize(
    "settings",
    [
        dict(attention="additive", num_layers=2),
        dict(attention="additive", cell="lstm", coverage=True),
        dict(attention="general", query="after", cell="lstm", num_layers=2),
        dict(attention="dot", query="after", input_feeding=True),
        dict(
            attention="general",
            query="after",
            input_feeding=True,
            coverage=True,
            cell="rnn",
        ),
        dict(attention="additive", shared_embeddings=True),
        dict(attention="dot", query="after", shared_embeddings=True),
    ],
    ids=lambda settings: "-".join(map(str, settings.values())),
)
@torch.no_grad()
def test_decoder_with_attention_is_the_loop(settings):
    torch.manual_seed(0)
    config = RecurrentConfig(embedding_size=3, hidden_size=4, **settings)
    model = RecurrentModel(9, 9, config).double()
    for parameter in model.parameters():
        parameter.uniform_(-1, 1)
    source = torch.tensor([[4, 5, 6, 2, 0, 0]])
    target = torch.tensor([[1, 5, 6, 4, 8]])
    memory = model.encode(source, source > 0)
    found = model.decode(memory, target)
    expected = by_hand(model, memory, target)
    for mine, loop in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, loop, rtol=0, atol=1e-12)


@pytest.mark.parametrize("attention", ["none", "dot"])
def test_shared_embeddings_are_one_table(attention):
    """Sizes of a word and of a state may differ."""
    config = RecurrentConfig(
        embedding_size=3,
        hidden_size=4,
        attention=attention,
        shared_embeddings=True,
    )
    model = RecurrentModel(9, 9, config)
    tables = [p for p in model.parameters() if p.shape[:1] == (9,)]
    assert [p.shape for p in tables] == [(9, 3), (9,)]  # words, bias
    assert model.output.weight is model.encoder.embedding.weight
    assert model.output.weight is model.decoder.embedding.weight
    tokens = torch.tensor([[1, 5, 6], [1, 4, 8]])
    memory = model.encode(tokens, tokens > 0)
    steps, state = [], None
    for token in tokens.T:
        logits, state, _ = model.step(memory, token, state)
        steps.append(logits)
    together, _ = model.decode(memory, tokens)
    torch.testing.assert_close(torch.stack(steps, 1), together)
    with pytest.raises(ValueError, match=r"one vocabulary .* 9 and 8 ids"):
        RecurrentModel(9, 8, config)


@pytest.mark.parametrize("query", ["before", "after"])
def test_as_many_targets_as_sources(query):
    config = RecurrentConfig(
        attention="additive", query=query, embedding_size=4, hidden_size=6
    )
    model = RecurrentModel(9, 9, config)
    source = torch.full((4, 3), 5)
    memory = model.encode(source, source != PAD)
    with pytest.raises(ValueError, match="2 targets for 4 sources"):
        model.decode(memory, source[:2])
