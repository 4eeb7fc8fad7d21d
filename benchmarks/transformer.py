"""Part III: multi-head attention, and decoding with and without a cache."""

from collections.abc import Callable, Iterator

import torch
from torch import nn

from benchmarks.attention import peak
from benchmarks.models import copied, match_layer
from benchmarks.peers import import_d2l
from benchmarks.timing import Row, compare
from s2s_lib.batches import pad
from s2s_lib.search import Hypothesis, greedy
from s2s_lib.transformer import (
    MultiHeadAttention,
    TransformerConfig,
    TransformerModel,
    sinusoidal,
)
from s2s_lib.vocab import EOS, SOS

SIZE, HEADS = 128, 4
VOCABULARY = 300


def rows() -> Iterator[tuple[Row, float, float]]:
    """A row, and the peak memory of peer and ours in MB."""
    for length in (64, 256, 1024, 2048):
        for need_weights in (False, True):
            yield from _attention(length, need_weights)
    for steps in (20, 40, 80):
        yield from _decoding(steps)


def _attention(
    length: int, need_weights: bool
) -> Iterator[tuple[Row, float, float]]:
    """Self-attention of one sequence, forward, all projections included."""
    torch.manual_seed(0)
    own = MultiHeadAttention(SIZE, HEADS)
    x = torch.randn(1, length, SIZE)

    @torch.no_grad()
    def ours():
        memory = own.project_keys(x)
        return own(x, memory, need_weights=need_weights)[0]

    torchs = nn.MultiheadAttention(SIZE, HEADS, batch_first=True)
    torchs.load_state_dict(own.state_dict())
    d2ls = import_d2l().MultiHeadAttention(SIZE, HEADS, 0.0, bias=True)
    d2ls(x[:, :1], x[:, :1], x[:, :1], None)
    _copy_attention(own, d2ls)

    @torch.no_grad()
    def torch_nn():
        return torchs(
            x,
            x,
            x,
            need_weights=need_weights,
            average_attn_weights=False,
        )[0]

    @torch.no_grad()
    def d2l():
        return d2ls(x, x, x, None)

    kind = "weights wanted" if need_weights else "no weights wanted"
    for peer, theirs in (
        ("torch.nn.MultiheadAttention", torch_nn),
        ("D2L 1.0.3 (always keeps them)", d2l),
    ):
        torch.testing.assert_close(theirs(), ours(), rtol=1e-4, atol=1e-5)
        row = compare(
            f"multi-head attention, {length} positions, {kind}",
            peer,
            theirs,
            ours,
            "outputs",
            repeats=3 if length > 256 else 9,
        )
        yield row, peak(theirs), peak(ours)


def _copy_attention(own: MultiHeadAttention, d2ls: nn.Module) -> None:
    weights = (*own.in_proj_weight.chunk(3), own.out_proj.weight)
    biases = (*own.in_proj_bias.chunk(3), own.out_proj.bias)
    layers = (d2ls.W_q, d2ls.W_k, d2ls.W_v, d2ls.W_o)
    with torch.no_grad():
        for layer, weight, bias in zip(layers, weights, biases, strict=True):
            layer.weight.copy_(weight)
            layer.bias.copy_(bias)


class Torchs(nn.Module):
    """torch.nn's decoder layers with our weights, and no cache.

    torch.nn.Transformer has none: the whole prefix is fed at every step.
    """

    def __init__(self, model: TransformerModel):
        super().__init__()
        self.model = model
        config = model.config
        self.layers = nn.ModuleList()
        for layer in model.decoder.layers:
            peer = nn.TransformerDecoderLayer(
                config.hidden_size,
                config.num_heads,
                config.feedforward_size,
                dropout=0.0,
                batch_first=True,
            )
            copied(match_layer(layer, peer))
            self.layers.append(peer)

    def logits(self, tokens, states, mask):
        """Logits of the last position."""
        stack, steps = self.model.decoder, tokens.shape[1]
        x = stack.embed(tokens, torch.arange(steps)[None])
        hide = torch.ones(steps, steps, dtype=torch.bool).triu(1)
        for layer in self.layers:
            x = layer(x, states, tgt_mask=hide, memory_key_padding_mask=~mask)
        return self.model.output(x[:, -1])


class D2Ls(nn.Module):
    """Decoder layers out of D2L's parts, with our weights.

    Its book keeps the inputs of each layer and projects them, and the
    encoder's states, again at every step; the package has the parts and no
    decoder, so the order of the parts is put together here.
    """

    def __init__(self, model: TransformerModel):
        super().__init__()
        d2l = import_d2l()
        self.model = model
        config = model.config
        size = config.hidden_size
        self.layers = nn.ModuleList()
        for own in model.decoder.layers:
            looks = [
                d2l.MultiHeadAttention(size, config.num_heads, 0.0, bias=True)
                for _ in range(2)
            ]
            norms = [d2l.AddNorm(size, 0.0) for _ in range(3)]
            feed = d2l.PositionWiseFFN(config.feedforward_size, size)
            x = torch.zeros(1, 1, size)
            for look in looks:
                look(x, x, x, None)
            feed(x)
            _copy_attention(own.self_attention, looks[0])
            _copy_attention(own.cross_attention, looks[1])
            feed.dense1.load_state_dict(own.feedforward[0].state_dict())
            feed.dense2.load_state_dict(own.feedforward[2].state_dict())
            for norm, mine in zip(
                norms,
                (own.self_norm, own.cross_norm, own.feedforward_norm),
                strict=True,
            ):
                norm.ln.load_state_dict(mine.state_dict())
            self.layers.append(nn.ModuleList([*looks, *norms, feed]))

    def step(self, token, at, states, lengths, kept):
        """Logits of one step; `kept` are each layer's inputs so far."""
        stack, size = self.model.decoder, self.model.config.hidden_size
        x = stack.embedding(token[:, None])
        x = x + sinusoidal(torch.tensor([[at]]), size)
        for i, layer in enumerate(self.layers):
            look, read, norm_1, norm_2, norm_3, feed = layer
            seen = x if kept[i] is None else torch.cat([kept[i], x], 1)
            kept[i] = seen
            y = norm_1(x, look(x, seen, seen, None))
            y = norm_2(y, read(y, states, states, lengths))
            x = norm_3(y, feed(y))
        return self.model.output(x[:, 0])


def _decoding(steps: int) -> Iterator[tuple[Row, float, float]]:
    """Greedy search, 32 sentences, untrained; no sentence ends early."""
    torch.manual_seed(0)
    config = TransformerConfig(SIZE, HEADS, 2, 256, norm="post")
    model = TransformerModel(VOCABULARY, VOCABULARY, config).eval()
    with torch.no_grad():
        model.output.bias[EOS] = -1e4
    source, mask = pad(
        [
            [*torch.randint(4, VOCABULARY, (length,)).tolist(), EOS]
            for length in torch.randint(steps // 2, steps, (32,)).tolist()
        ]
    )
    torchs, d2ls = Torchs(model).eval(), D2Ls(model).eval()

    @torch.no_grad()
    def ours() -> list[tuple[int, ...]]:
        memory = model.encode(source, mask)
        found: list[Hypothesis] = greedy(model, memory, steps)
        return [h.tokens for h in found]

    def best(logits):
        # As in `greedy`: never padding or the start.
        logits[:, :2] = -torch.inf
        return logits.argmax(1)

    @torch.no_grad()
    def torch_nn() -> list[tuple[int, ...]]:
        states, _ = model.encoder(source, mask)
        tokens = torch.full((len(source), 1), SOS)
        for _ in range(steps):
            chosen = best(torchs.logits(tokens, states, mask))
            tokens = torch.cat([tokens, chosen[:, None]], 1)
        return [tuple(row) for row in tokens[:, 1:].tolist()]

    @torch.no_grad()
    def d2l() -> list[tuple[int, ...]]:
        states, _ = model.encoder(source, mask)
        token, kept, rows = torch.full((len(source),), SOS), [None] * 2, []
        for at in range(steps):
            token = best(d2ls.step(token, at, states, mask.sum(1), kept))
            rows.append(token)
        return [tuple(row) for row in torch.stack(rows, 1).tolist()]

    peers: tuple[tuple[str, Callable], ...] = (
        ("torch.nn.TransformerDecoderLayer, no cache", torch_nn),
        ("D2L 1.0.3's parts, keys projected each step", d2l),
    )
    for peer, theirs in peers:
        assert theirs() == ours()
        row = compare(
            f"greedy search, Transformer, 32 sentences, {steps} steps",
            peer,
            theirs,
            ours,
            "all tokens",
            repeats=3,
        )
        yield row, peak(theirs), peak(ours)
