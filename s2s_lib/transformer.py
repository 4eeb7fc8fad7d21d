"""The Transformer: attention in the place of recurrence (`vaswani2017`).

One stack of layers serves as encoder, as decoder, and as either of them
alone. A layer attends to its own sequence, then, in a decoder that has a
source, to the source, and then transforms each position by itself. All of
it runs through `attention.attend`, or through torch's faster function of the
same value where nobody asks for the weights.

Every tensor in a memory or a state has the batch as its first dimension; the
search relies on that when it drops finished sentences or copies beams.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from s2s_lib.attention import attend
from s2s_lib.batches import check_source_mask, check_targets, spread_rows
from s2s_lib.captions import ImageEncoder
from s2s_lib.embeddings import ScaledEmbedding, share_table
from s2s_lib.onednn import Linear, linear
from s2s_lib.vocab import PAD, UNK

POSITIONS = ("sinusoidal", "learned", "rotary", "none")
LONGEST_PERIOD = 10_000  # of the waves that mark positions, over 2 pi


@dataclass(frozen=True)
class TransformerConfig:
    """The architecture of a Transformer.

    Args:
        hidden_size: size of a position's vector, from bottom to top.
        num_heads: attentions side by side, each on hidden_size / num_heads
            numbers.
        num_layers: layers of the encoder, and again of the decoder.
        feedforward_size: hidden units of each position's own network.
        dropout: rate, on the input and on what each part of a layer adds.
        norm: layer norm "pre": before each part, on its input (`xiong2020`);
            or "post": after it, on the sum (`vaswani2017`).
        positions: how order is told: "sinusoidal" waves (`vaswani2017`) or
            "learned" vectors (`gehring2017`) on the input, "rotary": queries
            and keys turned by their position (`su2021`), or "none".
        max_positions: rows of the table of learned positions.
        decoder_only: no encoder: the pair is one text, and one stack reads
            the source and writes the target; see `DecoderOnlyModel`.
        weights_layer: the decoder's layer whose weights `decode` and `step`
            return, averaged over its heads; -1 is the last.
        encoder: "text", or "image" for the pictures of `captions`.
        shared_embeddings: one table for the words of the source, of the
            target and, turned round, of the output layer (`press2017`);
            both sides need one vocabulary.

    Raises:
        ValueError: if a value is outside what is listed here.
    """

    hidden_size: int = 128
    num_heads: int = 4
    num_layers: int = 2
    feedforward_size: int = 256
    dropout: float = 0.0
    norm: str = "pre"
    positions: str = "sinusoidal"
    max_positions: int = 256
    decoder_only: bool = False
    weights_layer: int = -1
    encoder: str = "text"
    shared_embeddings: bool = False

    def __post_init__(self):
        choices = {
            "norm": ("pre", "post"),
            "positions": POSITIONS,
            "encoder": ("text", "image"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"{name} must be one of {allowed}, "
                    f"not {getattr(self, name)!r}"
                )
        sizes = (
            "hidden_size", "num_heads", "num_layers", "feedforward_size",
            "max_positions",
        )  # fmt: skip
        for name in sizes:
            if getattr(self, name) < 1:
                raise ValueError(
                    f"{name} must be 1 or more, not {getattr(self, name)}"
                )
        # Waves come in pairs, and rotary positions turn pairs in each head.
        parts = self.num_heads * (2 if self.positions == "rotary" else 1)
        if self.hidden_size % parts or self.hidden_size % 2:
            raise ValueError(
                f"hidden_size must be even and a multiple of {parts} "
                f"({self.num_heads} heads, positions {self.positions!r}), "
                f"not {self.hidden_size}"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(
                f"dropout must be at least 0 and below 1, not {self.dropout}"
            )
        if not -self.num_layers <= self.weights_layer < self.num_layers:
            raise ValueError(
                f"weights_layer must be from {-self.num_layers} to "
                f"{self.num_layers - 1}, not {self.weights_layer}"
            )
        if self.shared_embeddings and (
            self.decoder_only or self.encoder != "text"
        ):
            raise ValueError(
                "shared_embeddings needs an encoder and a decoder of text; "
                "leave decoder_only and encoder as they are by default"
            )
        if self.decoder_only and self.encoder != "text":
            raise ValueError(
                "decoder_only reads text alone; it has no encoder to put a "
                'picture through, so leave encoder at "text"'
            )

    @property
    def attends(self) -> bool:
        """Whether `decode` returns weights over the source."""
        return not self.decoder_only


def sinusoidal(
    positions: Int[Tensor, "*batch steps"], size: int
) -> Float[Tensor, "*batch steps size"]:
    """A vector of waves for each position (`vaswani2017`).

    Entries 2i and 2i + 1 are sine and cosine of `p / 10000 ** (2i / size)`.

    Raises:
        ValueError: if the size is odd.
    """
    angles = _angles(positions, size)  # angles: (..., steps, size / 2)
    waves = torch.stack([angles.sin(), angles.cos()], dim=-1)
    return waves.flatten(-2)


def rotate(
    x: Float[Tensor, "batch heads steps size"],
    positions: Int[Tensor, "rows steps"],
) -> Float[Tensor, "batch heads steps size"]:
    """Turn each pair of entries 2i, 2i + 1 by its position (`su2021`).

    The angle is `p / 10000 ** (2i / size)`. The dot product of two vectors
    that were turned depends on how far apart they stand, not on where.
    """
    angles = _angles(positions, x.shape[-1])[:, None]
    sin, cos = angles.sin().to(x.dtype), angles.cos().to(x.dtype)
    # sin, cos: (rows, 1, steps, size / 2)
    even, odd = x[..., 0::2], x[..., 1::2]
    turned = (even * cos - odd * sin, even * sin + odd * cos)
    return torch.stack(turned, dim=-1).flatten(-2)


def _angles(positions: Tensor, size: int) -> Tensor:
    if size % 2:
        raise ValueError(
            f"waves come in pairs of sine and cosine: size must be even, not "
            f"{size}"
        )
    exponents = torch.arange(0, size, 2, device=positions.device) / size
    return positions[..., None] / LONGEST_PERIOD**exponents


def causal_mask(
    queries: int, keys: int, device: torch.device | str | None = None
) -> Bool[Tensor, "queries keys"]:
    """True where a query may look: at its own position and before.

    The queries are the last of the keys' positions.
    """
    allowed = torch.ones(queries, keys, dtype=torch.bool, device=device)
    return allowed.tril(keys - queries)


class KeysValues(NamedTuple):
    """Projected keys and values of one layer, split into heads."""

    keys: Float[Tensor, "batch heads steps head_size"]
    values: Float[Tensor, "batch heads steps head_size"]


Cache = tuple[KeysValues, ...]


class MultiHeadAttention(nn.Module):
    """Several attentions, each on projections of its own (`vaswani2017`).

    Parameters are named and laid out as in `torch.nn.MultiheadAttention`, so
    that weights can be copied both ways.
    """

    def __init__(self, hidden_size: int, num_heads: int):
        super().__init__()
        if hidden_size % num_heads:
            raise ValueError(
                f"hidden_size {hidden_size} cannot be split into {num_heads} "
                "heads of one size; take a multiple"
            )
        self.num_heads = num_heads
        self.in_proj_weight = nn.Parameter(
            torch.empty(3 * hidden_size, hidden_size)
        )
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * hidden_size))
        self.out_proj = Linear(hidden_size, hidden_size)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def _project(self, states: Tensor, first: int, last: int) -> Tensor:
        """Parts `first` to `last` of query, key and value, as heads."""
        size = states.shape[-1]
        rows = slice(first * size, last * size)
        projected = linear(
            states, self.in_proj_weight[rows], self.in_proj_bias[rows]
        )
        # The parts, then the heads, lie one behind the other.
        heads = projected.unflatten(-1, (last - first, self.num_heads, -1))
        return heads.permute(2, 0, 3, 1, 4)

    def project_keys(
        self,
        states: Float[Tensor, "batch steps hidden"],
        positions: Int[Tensor, "rows steps"] | None = None,
    ) -> KeysValues:
        """What can be computed once per sequence."""
        keys, values = self._project(states, 1, 3)
        # keys, values: (batch, heads, steps, head_size)
        if positions is not None:
            keys = rotate(keys, positions)
        return KeysValues(keys, values)

    def forward(
        self,
        states: Float[Tensor, "batch queries hidden"],
        memory: KeysValues,
        mask: Bool[Tensor, "..."] | None = None,
        positions: Int[Tensor, "rows queries"] | None = None,
        need_weights: bool = True,
    ) -> tuple[
        Float[Tensor, "batch queries hidden"],
        Float[Tensor, "sources heads asked keys"] | None,
    ]:
        """Attend with a query for each of `states`.

        Args:
            states: what the queries are made of.
            memory: what `project_keys` made. Where it has fewer rows than
                `states`, several rows side by side look at one row of it,
                and the weights have these rows' queries side by side.
            mask: True where there is something to attend to; broadcasts to
                (batch, heads, queries, keys).
            positions: of the queries, for rotary positions.
            need_weights: without them torch's own function does the work.

        Raises:
            ValueError: if the rows of `states` cannot be shared out evenly.
        """
        if not len(memory.keys) or len(states) % len(memory.keys):
            raise ValueError(
                f"{len(states)} rows ask {len(memory.keys)} rows of keys: "
                "give as many, or a multiple that stands side by side"
            )
        # Rows that look at the same keys ask together.
        asking = states.reshape(len(memory.keys), -1, states.shape[-1])
        (query,) = self._project(asking, 0, 1)
        # query: (batch, heads, queries, head_size)
        if positions is not None:
            query = rotate(query, positions)
        if need_weights:
            context, weights = attend(query, memory.keys, memory.values, mask)
        else:
            context, weights = _fast(query, *memory, mask), None
        joined = context.transpose(1, 2).flatten(2)
        # joined: (batch, queries, hidden)
        return self.out_proj(joined).reshape(states.shape), weights


def _fast(
    query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None
) -> Tensor:
    return functional.scaled_dot_product_attention(
        query, keys, values, attn_mask=mask
    )


class LayerNorm(nn.Module):
    """Each vector shifted to mean 0 and scaled to variance 1 (`ba2016`).

    Then every entry gets a weight and a bias of its own. It is written out
    here; the layers run torch's, which gives the same numbers faster.
    """

    def __init__(self, size: int, eps: float = 1e-5):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.bias = nn.Parameter(torch.zeros(size))
        self.eps = eps

    def forward(
        self, x: Float[Tensor, "*batch size"]
    ) -> Float[Tensor, "*batch size"]:
        centred = x - x.mean(-1, keepdim=True)
        variance = centred.square().mean(-1, keepdim=True)
        return centred / (variance + self.eps).sqrt() * self.weight + self.bias


class Layer(nn.Module):
    """Self-attention, cross-attention where there is a source, feed-forward.

    Each part adds to the vectors that come in, so there is a way from top
    to bottom along which nothing is squeezed.
    """

    def __init__(self, config: TransformerConfig, cross: bool):
        super().__init__()
        size = config.hidden_size
        self.pre = config.norm == "pre"
        self.self_attention = MultiHeadAttention(size, config.num_heads)
        self.self_norm = nn.LayerNorm(size)
        if cross:
            self.cross_attention = MultiHeadAttention(size, config.num_heads)
            self.cross_norm = nn.LayerNorm(size)
        self.feedforward = nn.Sequential(
            Linear(size, config.feedforward_size),
            nn.ReLU(),
            Linear(config.feedforward_size, size),
        )
        self.feedforward_norm = nn.LayerNorm(size)
        self.dropout = nn.Dropout(config.dropout)

    def _input(self, x: Tensor, norm: nn.Module) -> Tensor:
        return norm(x) if self.pre else x

    def _add(self, x: Tensor, change: Tensor, norm: nn.Module) -> Tensor:
        total = x + self.dropout(change)
        return total if self.pre else norm(total)

    def forward(
        self,
        x: Float[Tensor, "batch steps hidden"],
        mask: Bool[Tensor, "..."] | None,
        rotary: Int[Tensor, "rows steps"] | None = None,
        past: KeysValues | None = None,
        source: KeysValues | None = None,
        source_mask: Bool[Tensor, "..."] | None = None,
        need_weights: bool = False,
    ) -> tuple[Tensor, KeysValues, Tensor | None, Tensor | None]:
        """One layer over new positions.

        Args:
            x: vectors of the new positions.
            mask: which positions each new one sees, itself and `past`
                included.
            rotary: the new positions' numbers, if they are rotary.
            past: keys and values of the positions before, from the cache.
            source, source_mask: what the cross-attention reads.
            need_weights: of both attentions; see `MultiHeadAttention`.

        Returns:
            x, the keys and values of past and new positions, the weights of
            the self-attention and those of the cross-attention.
        """
        inputs = self._input(x, self.self_norm)
        own = self.self_attention.project_keys(inputs, rotary)
        if past is not None:
            pairs = zip(past, own, strict=True)
            own = KeysValues(*(torch.cat(pair, dim=-2) for pair in pairs))
        change, looked = self.self_attention(
            inputs, own, mask, rotary, need_weights
        )
        x = self._add(x, change, self.self_norm)
        read = None
        if source is not None:
            change, read = self.cross_attention(
                self._input(x, self.cross_norm),
                source,
                source_mask,
                need_weights=need_weights,
            )
            x = self._add(x, change, self.cross_norm)
        change = self.feedforward(self._input(x, self.feedforward_norm))
        return self._add(x, change, self.feedforward_norm), own, looked, read


class Seen(NamedTuple):
    """The weights of one layer: (batch, heads, steps, keys), or None.

    `own` are those of the self-attention, `source` of the cross-attention.
    """

    own: Tensor | None
    source: Tensor | None


class Stack(nn.Module):
    """Embedding, positions and layers: a whole encoder or decoder."""

    def __init__(
        self, vocab_size: int, config: TransformerConfig, cross: bool
    ):
        super().__init__()
        self.config = config
        size = config.hidden_size
        self.embedding = ScaledEmbedding(vocab_size, size, padding_idx=PAD)
        if config.positions == "learned":
            self.positions = ScaledEmbedding(config.max_positions, size)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(
            Layer(config, cross) for _ in range(config.num_layers)
        )
        # With "pre" nothing else scales the sum that leaves the last layer.
        self.norm = (
            nn.LayerNorm(size) if config.norm == "pre" else nn.Identity()
        )

    def embed(
        self,
        tokens: Int[Tensor, "batch steps"],
        positions: Int[Tensor, "rows steps"],
    ) -> Float[Tensor, "batch steps hidden"]:
        """Word vectors, and what tells their positions.

        Raises:
            ValueError: if a position is beyond the table of learned ones.
        """
        x = self.embedding(tokens)
        if self.config.positions == "sinusoidal":
            x = x + sinusoidal(positions, x.shape[-1]).to(x.dtype)
        elif self.config.positions == "learned":
            last = int(positions.max()) if positions.numel() else 0
            if last >= self.config.max_positions:
                raise ValueError(
                    f"position {last} is beyond the table of learned "
                    f"positions, which has {self.config.max_positions} "
                    "rows, from 0; shorten the text or set max_positions"
                )
            x = x + self.positions(positions)
        return self.dropout(x)

    def forward(
        self,
        tokens: Int[Tensor, "batch steps"],
        positions: Int[Tensor, "rows steps"],
        mask: Bool[Tensor, "..."] | None,
        past: Cache | None = None,
        source: Cache | None = None,
        source_mask: Bool[Tensor, "..."] | None = None,
        watch: Sequence[int] = (),
    ) -> tuple[Float[Tensor, "batch steps hidden"], Cache, list[Seen]]:
        """Run over new positions; arguments as for `Layer`, one per layer.

        `watch` names the layers whose weights are wanted.
        """
        x = self.embed(tokens, positions)
        rotary = positions if self.config.positions == "rotary" else None
        cache, seen = [], []
        for i, layer in enumerate(self.layers):
            x, own, looked, read = layer(
                x,
                mask,
                rotary,
                None if past is None else past[i],
                None if source is None else source[i],
                source_mask,
                i in watch,
            )
            cache.append(own)
            seen.append(Seen(looked, read))
        return self.norm(x), tuple(cache), seen


class TransformerEncoder(nn.Module):
    """A stack whose positions all see each other; padding changes nothing."""

    def __init__(self, vocab_size: int, config: TransformerConfig):
        super().__init__()
        self.stack = Stack(vocab_size, config, cross=False)

    def state_mask(
        self, mask: Bool[Tensor, "batch steps"]
    ) -> Bool[Tensor, "batch steps"]:
        """Which states are real: those of real tokens."""
        return mask

    def forward(
        self,
        source: Int[Tensor, "batch steps"],
        mask: Bool[Tensor, "batch steps"],
        watch: Sequence[int] = (),
    ) -> tuple[Float[Tensor, "batch steps hidden"], list[Seen]]:
        """The top layer's vectors, 0 on padding, and weights to `watch`.

        Raises:
            TypeError, ValueError: see `check_source_mask`; and ValueError
                if a source has more positions than are learned.
        """
        check_source_mask(source, mask)
        positions = _from(0, source)
        states, _, seen = self.stack(
            source, positions, mask[:, None, None], watch=watch
        )
        return states * mask[..., None], seen


def _room(config: TransformerConfig, taken: Tensor) -> Tensor:
    """How many positions are left; with a formula for them, no end."""
    rows = config.max_positions if config.positions == "learned" else 2**31
    return rows - taken


def _from(start: int, tokens: Tensor) -> Int[Tensor, "1 steps"]:
    steps = tokens.shape[1]
    return torch.arange(start, start + steps, device=tokens.device)[None]


class TransformerMemory(NamedTuple):
    """What the decoder keeps of one batch of sources.

    `layers` holds keys and values of the source for each layer: those of
    the cross-attention, or for a decoder alone what it made of the source
    as the beginning of its text. Nothing in it changes while decoding.
    """

    mask: Bool[Tensor, "batch source_steps"]
    layers: Cache


class TransformerModel(nn.Module):
    """Encoder and decoder.

    Args:
        source_vocab_size, target_vocab_size: ids on each side.
        config: the architecture.
    """

    def __init__(
        self,
        source_vocab_size: int,
        target_vocab_size: int,
        config: TransformerConfig | None = None,
    ):
        super().__init__()
        self.config = config = config or TransformerConfig()
        if config.encoder == "text":
            self.encoder = TransformerEncoder(source_vocab_size, config)
        else:
            self.encoder = ImageEncoder(
                source_vocab_size, config.hidden_size, config.dropout
            )
            # Nothing reads the summary here. Several processes would wait for
            # the gradient of its weights, if they were not frozen.
            self.encoder.shrink.requires_grad_(False)
        self.decoder = Stack(target_vocab_size, config, cross=True)
        self.output = Linear(config.hidden_size, target_vocab_size)
        if config.shared_embeddings:
            share_table(
                self.output,
                self.encoder.stack.embedding,
                self.decoder.embedding,
            )

    def encode(
        self,
        source: Int[Tensor, "batch source_steps"],
        source_mask: Bool[Tensor, "batch source_steps"],
    ) -> TransformerMemory:
        """Read the sources. Call it once per batch of sentences.

        Raises:
            TypeError, ValueError: see `batches.check_source_mask`; and
                ValueError if a source has more positions than are learned.
        """
        states, _ = self.encoder(source, source_mask)
        return TransformerMemory(
            self.encoder.state_mask(source_mask),
            tuple(
                layer.cross_attention.project_keys(states)
                for layer in self.decoder.layers
            ),
        )

    def room(self, memory: TransformerMemory) -> Int[Tensor, " batch"]:
        """How many steps each target may have."""
        return _room(self.config, torch.zeros_like(memory.mask.sum(1)))

    def _run(
        self,
        memory: TransformerMemory,
        tokens: Int[Tensor, "batch steps"],
        past: Cache | None,
        watch: Sequence[int],
    ) -> tuple[Tensor, Cache, list[Seen]]:
        before = 0 if past is None else past[0].keys.shape[-2]
        steps = tokens.shape[1]
        hidden, cache, seen = self.decoder(
            tokens,
            _from(before, tokens),
            causal_mask(steps, before + steps, tokens.device),
            past,
            memory.layers,
            memory.mask[:, None, None],
            watch,
        )
        return hidden, cache, seen

    def decode(
        self,
        memory: TransformerMemory,
        target_in: Int[Tensor, "batch target_steps"],
    ) -> tuple[
        Float[Tensor, "batch target_steps vocabulary"],
        Float[Tensor, "batch target_steps source_steps"],
    ]:
        """Teacher forcing: logits of all steps, and weights over the source.

        The weights are the mean over the heads of `config.weights_layer`.

        Raises:
            ValueError: if there are not as many targets as sources, or more
                positions than are learned.
        """
        hidden, weights = self.hidden(memory, target_in)
        return self.output(hidden), weights

    def hidden(
        self,
        memory: TransformerMemory,
        target_in: Int[Tensor, "batch target_steps"],
    ) -> tuple[
        Float[Tensor, "batch target_steps hidden"],
        Float[Tensor, "batch target_steps source_steps"],
    ]:
        """`decode` up to the vectors that `output` makes the logits of."""
        check_targets(target_in, memory.mask)
        hidden, _, weights = self._steps(memory, target_in, None)
        return hidden, weights

    def step(
        self,
        memory: TransformerMemory,
        token: Int[Tensor, " batch"],
        state: Cache | None = None,
    ) -> tuple[
        Float[Tensor, "batch vocabulary"],
        Cache,
        Float[Tensor, "batch source_steps"],
    ]:
        """One step: feed `token`, get logits, the next state, the weights.

        The state is the keys and values of all tokens fed so far; None
        stands for the first step, which is fed `<sos>`.
        """
        hidden, state, weights = self._steps(memory, token[:, None], state)
        return self.output(hidden)[:, 0], state, weights[:, 0]

    def _steps(
        self, memory: TransformerMemory, tokens: Tensor, past: Cache | None
    ) -> tuple[Tensor, Cache, Tensor]:
        layer = self.config.weights_layer % self.config.num_layers
        hidden, cache, seen = self._run(memory, tokens, past, [layer])
        weights = seen[layer].source.mean(1)
        return hidden, cache, weights.reshape(*tokens.shape, -1)

    def maps(
        self,
        memory: TransformerMemory,
        target_in: Int[Tensor, "batch target_steps"],
    ) -> list[Seen]:
        """The decoder's weights of every layer and head, teacher forced.

        Raises:
            ValueError: as `decode` does.
        """
        check_targets(target_in, memory.mask)
        return self._run(memory, target_in, None, range(len(memory.layers)))[2]


class DecoderOnlyModel(nn.Module):
    """One stack that reads the source and goes on with the target.

    The pair is one text (`radford2018`): source, its `<eos>`, `<sos>`,
    target. Each position sees those before it, and nothing else tells
    source from target but the words themselves, which have rows of their
    own in one table of embeddings.
    """

    def __init__(
        self,
        source_vocab_size: int,
        target_vocab_size: int,
        config: TransformerConfig,
    ):
        super().__init__()
        self.config = config
        self.first_target = source_vocab_size
        self.stack = Stack(
            source_vocab_size + target_vocab_size, config, cross=False
        )
        self.output = Linear(config.hidden_size, target_vocab_size)

    def encode(
        self,
        source: Int[Tensor, "batch source_steps"],
        source_mask: Bool[Tensor, "batch source_steps"],
    ) -> TransformerMemory:
        """Read the sources, each as the beginning of a text.

        Raises:
            TypeError, ValueError: see `check_source_mask`; and ValueError
                if a source has more positions than are learned.
        """
        check_source_mask(source, source_mask)
        steps = source.shape[1]
        mask = causal_mask(steps, steps, source.device)
        _, cache, _ = self.stack(source, _from(0, source), mask)
        return TransformerMemory(source_mask, cache)

    def decode(
        self,
        memory: TransformerMemory,
        target_in: Int[Tensor, "batch target_steps"],
    ) -> tuple[Float[Tensor, "batch target_steps vocabulary"], None]:
        """Teacher forcing: logits of all steps; there is no cross-attention,
        so there are no weights over the source alone."""
        hidden, _ = self.hidden(memory, target_in)
        return self.output(hidden), None

    def hidden(
        self,
        memory: TransformerMemory,
        target_in: Int[Tensor, "batch target_steps"],
    ) -> tuple[Float[Tensor, "batch target_steps hidden"], None]:
        """`decode` up to the vectors that `output` makes the logits of."""
        check_targets(target_in, memory.mask)
        hidden, _ = self._run(memory, target_in, memory.layers)
        return hidden, None

    def step(
        self,
        memory: TransformerMemory,
        token: Int[Tensor, " batch"],
        state: Cache | None = None,
    ) -> tuple[Float[Tensor, "batch vocabulary"], Cache, None]:
        """One step: feed `token`, get logits, the next state, no weights."""
        past = memory.layers if state is None else state
        hidden, state = self._run(memory, token[:, None], past)
        return self.output(hidden)[:, 0], state, None

    def room(self, memory: TransformerMemory) -> Int[Tensor, " batch"]:
        """How many steps each target may have behind its source."""
        return _room(self.config, memory.mask.sum(1))

    def _run(
        self,
        memory: TransformerMemory,
        tokens: Int[Tensor, "batch steps"],
        past: Cache,
    ) -> tuple[Tensor, Cache]:
        steps, source_steps = tokens.shape[1], memory.mask.shape[1]
        before = past[0].keys.shape[-2] - source_steps
        source_mask = spread_rows(memory.mask, len(memory.mask), len(tokens))
        # Padding behind a source takes up no position.
        lengths = source_mask.sum(1, keepdim=True)  # lengths: (batch, 1)
        positions = lengths + _from(before, tokens)
        positions = positions.masked_fill(tokens == PAD, 0)  # nor behind one
        causal = causal_mask(steps, before + steps, tokens.device)
        mask = torch.cat(
            [
                source_mask[:, None].expand(-1, steps, -1),
                causal.expand(len(tokens), -1, -1),
            ],
            dim=-1,
        )[:, None]  # mask: (batch, 1, steps, source_steps + before + steps)
        hidden, cache, _ = self.stack(
            tokens + self.first_target, positions, mask, past
        )
        return hidden, cache


class MaskedLanguageModel(nn.Module):
    """The encoder alone, with a word to guess at each position
    (`devlin2019`)."""

    def __init__(self, vocab_size: int, config: TransformerConfig):
        super().__init__()
        self.config = config
        self.encoder = TransformerEncoder(vocab_size, config)
        self.output = Linear(config.hidden_size, vocab_size)

    def forward(
        self,
        tokens: Int[Tensor, "batch steps"],
        mask: Bool[Tensor, "batch steps"],
    ) -> Float[Tensor, "batch steps vocabulary"]:
        """Logits for the word at each position, from both its sides."""
        states, _ = self.encoder(tokens, mask)
        return self.output(states)


def mask_words(
    tokens: Int[Tensor, "batch steps"],
    mask: Bool[Tensor, "batch steps"],
    share: float = 0.15,
    generator: torch.Generator | None = None,
) -> tuple[Int[Tensor, "batch steps"], Bool[Tensor, "batch steps"]]:
    """Hide some real tokens behind `<unk>`.

    Every row hides at least one. BERT leaves some of the hidden words in
    place or swaps them (`devlin2019`), to be fine-tuned on text without
    masks; here nothing is fine-tuned, and all are hidden.

    Args:
        tokens, mask: a batch of ids, and which of them are real.
        share: of the real tokens, those that are hidden on average.
        generator: the source of randomness, on the CPU.

    Returns:
        tokens with `<unk>` in the places of the hidden ones.
        hidden: True on these places.

    Raises:
        ValueError: if `share` is not above 0 and at most 1.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must be above 0 and up to 1, not {share}")
    draws = torch.rand(tokens.shape, generator=generator).to(tokens.device)
    draws = draws.masked_fill(~mask, 2.0)
    hidden = draws <= draws.amin(1, keepdim=True).clamp(min=share)
    hidden = hidden & mask
    return tokens.masked_fill(hidden, UNK), hidden
