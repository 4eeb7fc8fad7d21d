"""Recurrent cells, and the encoder and decoder made of them.

The cells are written out here, gate by gate, with the parameter names of
`torch.nn`, so that weights can be copied both ways. The encoder and decoder
run torch's own loops over the same cells, which give the same numbers faster,
but for a large GRU (see `GRU`).

Every tensor in a memory or a state has the batch as its first dimension; the
search relies on that when it drops finished sentences or copies beams.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from s2s_lib.attention import SCORES, SELECTIONS, attend, make_score, select
from s2s_lib.batches import (
    check_source_mask,
    check_targets,
    spread_rows,
    take_rows,
)
from s2s_lib.captions import ImageEncoder
from s2s_lib.embeddings import ScaledEmbedding, share_table
from s2s_lib.onednn import Linear, linear, packed_weights, suits
from s2s_lib.vocab import PAD

# Rows that have only padding left leave the batch when at most this share of
# the rows being computed goes on. And padding is left out of a product when
# at most this share of its positions is real.
LEAVE = 7 / 8
State = tuple[Float[Tensor, "batch layers hidden"], ...]


class _Cell(nn.Module):
    """The two affine maps that every cell has.

    Both come in blocks, one for each gate and one for what the gates let in.
    """

    blocks: int

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.hidden_size = hidden_size
        rows = self.blocks * hidden_size
        self.weight_ih = nn.Parameter(torch.empty(rows, input_size))
        self.weight_hh = nn.Parameter(torch.empty(rows, hidden_size))
        self.bias_ih = nn.Parameter(torch.empty(rows))
        self.bias_hh = nn.Parameter(torch.empty(rows))
        bound = 1 / math.sqrt(hidden_size)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def project(
        self,
        x: Float[Tensor, "batch input"],
        h: Float[Tensor, "batch hidden"],
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """What input and state say to each block: (batch, hidden) each."""
        from_input = x @ self.weight_ih.T + self.bias_ih
        from_state = h @ self.weight_hh.T + self.bias_hh
        count = self.blocks
        return from_input.chunk(count, 1), from_state.chunk(count, 1)


class RNNCell(_Cell):
    """The plain cell, `h' = tanh(W x + U h + b)` (`elman1990`)."""

    blocks = 1

    def forward(
        self,
        x: Float[Tensor, "batch input"],
        h: Float[Tensor, "batch hidden"],
    ) -> Float[Tensor, "batch hidden"]:
        (from_input,), (from_state,) = self.project(x, h)
        return torch.tanh(from_input + from_state)


class GRUCell(_Cell):
    """The gated recurrent unit (`cho2014`).

    The update gate z mixes the old state with a candidate n; the reset gate
    r decides how much of the old state the candidate sees.
    """

    blocks = 3

    def forward(
        self,
        x: Float[Tensor, "batch input"],
        h: Float[Tensor, "batch hidden"],
    ) -> Float[Tensor, "batch hidden"]:
        return self.mix(*self.project(x, h), h)

    @staticmethod
    def mix(
        from_input: tuple[Tensor, ...],
        from_state: tuple[Tensor, ...],
        h: Float[Tensor, "batch hidden"],
    ) -> Float[Tensor, "batch hidden"]:
        """The next state, of what `project` gave."""
        (x_r, x_z, x_n), (h_r, h_z, h_n) = from_input, from_state
        r = torch.sigmoid(x_r + h_r)  # r: (batch, hidden)
        z = torch.sigmoid(x_z + h_z)  # z: (batch, hidden)
        n = torch.tanh(torch.addcmul(x_n, r, h_n))  # n: (batch, hidden)
        return torch.lerp(n, h, z)  # (1 - z) n + z h


class LSTMCell(_Cell):
    """Long short-term memory (`hochreiter1997`), with a forget gate.

    The cell c is carried along by addition: the forget gate f scales what
    is kept, the input gate i what is added, the output gate o what is shown.
    """

    blocks = 4

    def forward(
        self,
        x: Float[Tensor, "batch input"],
        state: tuple[
            Float[Tensor, "batch hidden"], Float[Tensor, "batch hidden"]
        ],
    ) -> tuple[Float[Tensor, "batch hidden"], Float[Tensor, "batch hidden"]]:
        h, c = state
        (x_i, x_f, x_g, x_o), (h_i, h_f, h_g, h_o) = self.project(x, h)
        i = torch.sigmoid(x_i + h_i)  # i: (batch, hidden)
        f = torch.sigmoid(x_f + h_f)  # f: (batch, hidden)
        g = torch.tanh(x_g + h_g)  # g: (batch, hidden)
        o = torch.sigmoid(x_o + h_o)  # o: (batch, hidden)
        c = f * c + i * g  # c: (batch, hidden)
        return o * torch.tanh(c), c


class GRU(nn.GRU):
    """torch's loop over a GRU, batch first, in one direction.

    Where the products of a step are large, oneDNN makes them, and the steps
    are those of `GRUCell`.
    """

    def forward(
        self,
        x: Float[Tensor, "batch steps input"],
        state: Float[Tensor, "layers batch hidden"] | None = None,
    ) -> tuple[
        Float[Tensor, "batch steps hidden"],
        Float[Tensor, "layers batch hidden"],
    ]:
        size = self.hidden_size
        plain = self.batch_first and self.bias and not self.bidirectional
        if not (
            plain
            and x.dim() == 3
            and x.shape[1]
            and suits(x, len(x) * 3 * size * size)
        ):
            return super().forward(x, state)
        if state is None:
            state = x.new_zeros(self.num_layers, len(x), size)
        self.check_forward_args(x, state, None)
        final = []
        for layer, h in enumerate(state):
            w_input, w_state, b_input, b_state = self.all_weights[layer]
            if layer:
                x = functional.dropout(x, self.dropout, self.training)
            states = []
            for step in linear(x, w_input, b_input).unbind(1):
                said = linear(h, w_state, b_state)
                h = GRUCell.mix(step.chunk(3, 1), said.chunk(3, 1), h)
                states.append(h)
            x = torch.stack(states, dim=1)
            final.append(h)
        return x, torch.stack(final)


_LOOPS = {"rnn": nn.RNN, "gru": GRU, "lstm": nn.LSTM}


@dataclass(frozen=True)
class RecurrentConfig:
    """The architecture of a recurrent encoder-decoder.

    Args:
        cell: "rnn", "gru" or "lstm", on both sides.
        embedding_size, hidden_size: sizes of a word and of a state.
        num_layers: stacked layers, on both sides.
        bidirectional: the encoder also reads from the end to the start.
        dropout: rate, on the input of each layer and of the output.
        context: where the context vector C enters the decoder: "initial"
            (it sets the first state, `sutskever2014`) or "every_step" (it is
            also part of each input, `cho2014`).
        context_size: size of C. None takes the encoder's final states as
            they are; a number squeezes them through a layer of that size.
        attention: "none", or a score of `attention.SCORES`: "additive",
            "dot", "general", "scaled_dot" or "location". With attention C
            sets the first state only, and the decoder gets a context of its
            own at every step.
        query: which state asks. "before" is the state before the step, and
            the context is part of the step's input (`bahdanau2015`);
            "after" is the state after the step, and the context joins it on
            the way to the output (`luong2015`).
        input_feeding: only for "after": the vector that the last output was
            made of is part of the next input (`luong2015`).
        coverage: each key is told how much attention its position has had
            so far (`tu2016`).
        selection: "soft" averages over all positions, "hard" and
            "straight_through" take one; see `attention.select`.
        encoder: "text", or "image" for the pictures of `captions`.
        shared_embeddings: one table for the words of the source, of the
            target and, turned round, of the output layer (`press2017`);
            both sides need one vocabulary. One more layer brings what the
            logits are made of to the size of a word.

    Raises:
        ValueError: if a value is outside what is listed here.
    """

    cell: str = "gru"
    embedding_size: int = 64
    hidden_size: int = 128
    num_layers: int = 1
    bidirectional: bool = True
    dropout: float = 0.0
    context: str = "initial"
    context_size: int | None = None
    attention: str = "none"
    query: str = "before"
    input_feeding: bool = False
    coverage: bool = False
    selection: str = "soft"
    encoder: str = "text"
    shared_embeddings: bool = False

    def __post_init__(self):
        choices = {
            "cell": tuple(_LOOPS),
            "context": ("initial", "every_step"),
            "attention": ("none", *SCORES),
            "query": ("before", "after"),
            "selection": SELECTIONS,
            "encoder": ("text", "image"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"{name} must be one of {allowed}, "
                    f"not {getattr(self, name)!r}"
                )
        sizes = ("embedding_size", "hidden_size", "num_layers", "context_size")
        for name in sizes:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be 1 or more, not {value}")
        if not 0 <= self.dropout < 1:
            raise ValueError(
                f"dropout must be at least 0 and below 1, not {self.dropout}"
            )
        if self.attention == "none":
            for name in ("query", "input_feeding", "coverage", "selection"):
                default = self.__dataclass_fields__[name].default
                if getattr(self, name) != default:
                    raise ValueError(
                        f"{name}={getattr(self, name)!r} needs attention; "
                        f"set attention to one of {SCORES}"
                    )
        elif self.context == "every_step":
            raise ValueError(
                "with attention the decoder has a context of its own at "
                'every step; leave context at "initial"'
            )
        if self.coverage and self.attention == "location":
            raise ValueError(
                "coverage tells the keys what was read, and the location "
                "score does not look at keys; take another score"
            )
        if self.shared_embeddings and self.encoder != "text":
            raise ValueError(
                "shared_embeddings needs an encoder of text; leave encoder "
                "as it is by default"
            )
        if self.input_feeding and self.query == "before":
            raise ValueError(
                'input_feeding needs query="after"; with "before" the '
                "context is part of the input already"
            )

    def loop(self, input_size: int, num_layers: int) -> nn.Module:
        """A loop over this cell, batch first, in one direction."""
        return _LOOPS[self.cell](
            input_size,
            self.hidden_size,
            num_layers,
            batch_first=True,
            dropout=self.dropout if num_layers > 1 else 0.0,
        )

    def table(self, vocab_size: int) -> nn.Embedding:
        """The vectors of the words of one side."""
        kind = ScaledEmbedding if self.shared_embeddings else nn.Embedding
        return kind(vocab_size, self.embedding_size, padding_idx=PAD)

    def writer(self, vocab_size: int) -> tuple[nn.Module, nn.Linear]:
        """What makes the decoder's vector one for `output`, and `output`."""
        if not self.shared_embeddings:
            return nn.Identity(), Linear(self.hidden_size, vocab_size)
        between = Linear(self.hidden_size, self.embedding_size, bias=False)
        return between, Linear(self.embedding_size, vocab_size)

    @property
    def attends(self) -> bool:
        """Whether `decode` returns weights over the source."""
        return self.attention != "none"

    @property
    def state_parts(self) -> int:
        """Tensors in a state: h alone, or h and c for an LSTM."""
        return 2 if self.cell == "lstm" else 1


class Memory(NamedTuple):
    """What the decoder keeps of one batch of sources.

    `states` are the encoder's top-layer states, which are the values of the
    attention; `context` is C, `initial` the decoder's first state, `keys`
    what the attention's score made of the states. Nothing in it changes
    while decoding.
    """

    states: Float[Tensor, "batch source_steps encoder_hidden"]
    mask: Bool[Tensor, "batch source_steps"]
    context: Float[Tensor, "batch context"]
    initial: State
    keys: Float[Tensor, "batch source_steps key"] | None = None


def mirror(
    mask: Bool[Tensor, "batch steps"],
) -> Int[Tensor, "batch steps"]:
    """Positions that read each row from its last real token to its first.

    Padding stays where it is: 4 real tokens of 6 give 3 2 1 0 4 5.
    """
    lengths = mask.sum(1, keepdim=True)  # lengths: (batch, 1)
    positions = torch.arange(mask.shape[1], device=mask.device)
    return torch.where(positions < lengths, lengths - 1 - positions, positions)


def _reorder(
    states: Float[Tensor, "batch steps hidden"],
    order: Int[Tensor, "batch steps"],
) -> Float[Tensor, "batch steps hidden"]:
    batch, steps = order.shape
    starts = steps * torch.arange(batch, device=order.device)[:, None]
    flat = states.flatten(0, 1).index_select(0, (starts + order).flatten())
    return flat.view_as(states)


def computed_rows(going: list[int]) -> list[int]:
    """How many rows are computed at each step, the longest rows first.

    A row that has only padding left leaves the batch. That costs a copy, so
    a few leave together.

    Args:
        going: how many rows have a real token at each step; it never grows.
    """
    sizes: list[int] = []
    for count in going:
        if not sizes or count <= LEAVE * sizes[-1]:
            sizes.append(count)
        else:
            sizes.append(sizes[-1])
    return sizes


def _read(
    reader: nn.Module,
    inputs: Float[Tensor, "batch steps input"],
    going: list[int],
) -> Float[Tensor, "batch steps hidden"]:
    """All states of a reader; 0 once a row has left, see `computed_rows`."""
    batch, steps, _ = inputs.shape
    found, state, start = [], None, 0
    for size, group in groupby(computed_rows(going)):
        stop = start + len(list(group))
        state = take_rows(state, slice(size))
        hidden, state = run_loop(reader, inputs[:size, start:stop], state)
        found.append(functional.pad(hidden, (0, 0, 0, 0, 0, batch - size)))
        start = stop
    hidden = _joined(found)
    return functional.pad(hidden, (0, 0, 0, steps - start))


def of_real(
    function: Callable[[Tensor], Tensor],
    states: Float[Tensor, "batch steps hidden"],
    mask: Bool[Tensor, "batch steps"],
) -> Float[Tensor, "batch steps size"]:
    """`function` of each state, in (positions, size) or with the batch.

    Padding is left out, and 0 in the result, where `LEAVE` says that it is
    worth it.
    """
    real = mask.flatten().nonzero()[:, 0]
    if len(real) > LEAVE * mask.numel():
        return function(states)
    found = function(states.flatten(0, 1).index_select(0, real))
    whole = found.new_zeros(mask.numel(), found.shape[-1])
    return whole.index_copy_(0, real, found).unflatten(0, mask.shape)


class Encoder(nn.Module):
    """Reads the source from both ends; padding changes nothing.

    Padding stands behind the sentence, so a reader that goes forwards meets
    it too late to matter, and its final state is taken at the last real
    token. The backward reader gets each row mirrored within its own length.
    """

    def __init__(self, vocab_size: int, config: RecurrentConfig):
        super().__init__()
        self.embedding = config.table(vocab_size)
        self.dropout = nn.Dropout(config.dropout)
        directions = 2 if config.bidirectional else 1
        self.state_size = directions * config.hidden_size
        sizes = [config.embedding_size]
        sizes += [self.state_size] * (config.num_layers - 1)
        self.layers = nn.ModuleList(
            nn.ModuleList(config.loop(size, 1) for _ in range(directions))
            for size in sizes
        )
        self.summary_size = config.num_layers * self.state_size

    def state_mask(
        self, mask: Bool[Tensor, "batch steps"]
    ) -> Bool[Tensor, "batch steps"]:
        """Which states are real: those of real tokens."""
        return mask

    def forward(
        self,
        source: Int[Tensor, "batch steps"],
        mask: Bool[Tensor, "batch steps"],
    ) -> tuple[
        Float[Tensor, "batch steps hidden"], Float[Tensor, "batch summary"]
    ]:
        """All top-layer states (0 on padding), and C.

        C is the state after the last token that each reader of each layer
        has read, one behind the other.

        Raises:
            TypeError, ValueError: see `check_source_mask`.
        """
        check_source_mask(source, mask)
        order = mask.sum(1).argsort(descending=True, stable=True)
        mask = mask[order]  # the longest row first
        last = mask.sum(1) - 1  # last: (batch,), each row's last real token
        rows = torch.arange(len(source), device=source.device)
        backwards = mirror(mask)
        going = [count for count in mask.sum(0).tolist() if count]
        states, summary = take_rows(self.embedding(source), order), []
        for readers in self.layers:
            inputs, read = self.dropout(states), []
            for direction, reader in enumerate(readers):
                x = _reorder(inputs, backwards) if direction else inputs
                hidden = _read(reader, x, going)
                # hidden: (batch, steps, hidden)
                summary.append(hidden[rows, last])
                read.append(
                    _reorder(hidden, backwards) if direction else hidden
                )
            states = torch.cat(read, dim=-1)
        states.masked_fill_(~mask[..., None], 0)
        summary = torch.cat(summary, dim=-1)
        return take_rows((states, summary), order.argsort())


class Decoder(nn.Module):
    """Predicts the next target token from the tokens before it and C."""

    def __init__(
        self, vocab_size: int, context_size: int, config: RecurrentConfig
    ):
        super().__init__()
        self.every_step = config.context == "every_step"
        self.embedding = config.table(vocab_size)
        self.dropout = nn.Dropout(config.dropout)
        extra = context_size if self.every_step else 0
        self.loop = config.loop(
            config.embedding_size + extra, config.num_layers
        )
        self.projection, self.output = config.writer(vocab_size)

    def forward(
        self,
        tokens: Int[Tensor, "batch steps"],
        memory: Memory,
        state: State | None,
    ) -> tuple[Float[Tensor, "batch steps vocabulary"], State, None]:
        """Run over `tokens` from `state`: logits, new state, no weights."""
        hidden, state, weights = self.run(tokens, memory, state)
        return self.output(hidden), state, weights

    def run(
        self,
        tokens: Int[Tensor, "batch steps"],
        memory: Memory,
        state: State | None,
    ) -> tuple[Float[Tensor, "batch steps vector"], State, None]:
        """The same, with what `output` makes the logits of in their place."""
        state = memory.initial if state is None else state
        inputs = self.dropout(self.embedding(tokens))
        # inputs: (batch, steps, embedding)
        if self.every_step:
            context = memory.context
            context = spread_rows(context, len(context), len(tokens))
            repeated = context[:, None].expand(-1, tokens.shape[1], -1)
            inputs = torch.cat([inputs, repeated], dim=-1)
        hidden, state = run_loop(self.loop, inputs, state)
        return self.projection(self.dropout(hidden)), state, None


def run_loop(
    loop: nn.Module,
    inputs: Float[Tensor, "batch steps input"],
    state: State | None,
) -> tuple[Float[Tensor, "batch steps hidden"], State]:
    """Run torch's loop from `state`, which has the batch first; None is 0."""
    if state is not None:
        # It wants (layers, batch, hidden), and h alone or (h, c).
        state = tuple(part.transpose(0, 1).contiguous() for part in state)
        state = state if len(state) > 1 else state[0]
    hidden, final = loop(inputs, state)
    final = final if isinstance(final, tuple) else (final,)
    return hidden, tuple(part.transpose(0, 1) for part in final)


def _joined(blocks: list[Tensor]) -> Tensor:
    """Steps one behind the other; a single block is not copied."""
    return blocks[0] if len(blocks) == 1 else torch.cat(blocks, dim=1)


class AttentionState(NamedTuple):
    """What an attention decoder hands from step to step.

    `recurrent` is the state of its cells, `feed` the last attentional
    vector (input feeding), `coverage` the sum of all weights so far; the
    last two are None where the configuration does without.
    """

    recurrent: State
    feed: Float[Tensor, "batch 1 hidden"] | None
    coverage: Float[Tensor, "batch source_steps"] | None


class AttentionDecoder(nn.Module):
    """Predicts the next token with a new context vector at every step.

    With `query="before"`: s_t-1 asks, the context joins the token as the
    input of the cell, and s_t gives the logits (`bahdanau2015`). With
    "after": s_t asks, and the attentional vector `tanh(W [c_t, s_t])` gives
    the logits (`luong2015`); if no step needs an answer of the step before,
    all steps are computed at once.
    """

    def __init__(
        self, vocab_size: int, value_size: int, config: RecurrentConfig
    ):
        super().__init__()
        self.config = config
        hidden = config.hidden_size
        self.embedding = config.table(vocab_size)
        self.dropout = nn.Dropout(config.dropout)
        extra = value_size if config.query == "before" else 0
        extra += hidden if config.input_feeding else 0
        self.loop = config.loop(
            config.embedding_size + extra, config.num_layers
        )
        self.score = make_score(config.attention, hidden, value_size, hidden)
        if config.query == "after":
            self.combine = Linear(value_size + hidden, hidden, bias=False)
        self.projection, self.output = config.writer(vocab_size)
        self.stepwise = (
            config.query == "before" or config.input_feeding or config.coverage
        )
        if config.coverage:
            # As many numbers as a key has; at first coverage says nothing.
            size = self.score.project_keys(torch.zeros(1, 1, value_size))
            self.covered = nn.Parameter(torch.zeros(size.shape[-1]))

    def begin(self, memory: Memory) -> AttentionState:
        """The state before the first step."""
        batch, steps = memory.mask.shape
        feed, coverage = None, None
        if self.config.input_feeding:
            feed = memory.states.new_zeros(batch, 1, self.config.hidden_size)
        if self.config.coverage:
            coverage = memory.states.new_zeros(batch, steps)
        return AttentionState(memory.initial, feed, coverage)

    def look(
        self,
        memory: Memory,
        query: Float[Tensor, "batch steps hidden"],
        coverage: Float[Tensor, "batch source_steps"] | None = None,
    ) -> tuple[
        Float[Tensor, "batch steps value"],
        Float[Tensor, "batch steps source_steps"],
    ]:
        """Attend with these queries: the contexts and the weights used."""
        keys = memory.keys
        if coverage is not None:
            keys = keys + coverage[..., None] * self.covered
        context, weights = attend(
            query, keys, memory.states, memory.mask[:, None], self.score
        )
        if self.config.selection != "soft":
            weights = select(weights, self.config.selection, self.training)
            context = weights @ memory.states
        return context, weights

    def ask(
        self,
        memory: Memory,
        query: Float[Tensor, "batch steps hidden"],
        coverage: Float[Tensor, "batch source_steps"] | None = None,
    ) -> tuple[
        Float[Tensor, "batch steps value"],
        Float[Tensor, "batch steps source_steps"],
    ]:
        """`look`, also where several rows side by side share a source."""
        sources, rows = len(memory.mask), len(query)
        if coverage is not None:  # what each row has seen is its own
            memory = spread_rows(memory, sources, rows)
        if rows == len(memory.mask):
            return self.look(memory, query, coverage)
        together = query.reshape(sources, -1, query.shape[-1])
        context, weights = self.look(memory, together)
        shape = query.shape[:2]
        return context.reshape(*shape, -1), weights.reshape(*shape, -1)

    def attentional(
        self,
        context: Float[Tensor, "batch steps value"],
        hidden: Float[Tensor, "batch steps hidden"],
    ) -> Float[Tensor, "batch steps hidden"]:
        """What the logits are made of, where the query comes after."""
        both = torch.cat([context, self.dropout(hidden)], dim=-1)
        return torch.tanh(self.combine(both))

    def forward(
        self,
        tokens: Int[Tensor, "batch steps"],
        memory: Memory,
        state: AttentionState | None,
    ) -> tuple[
        Float[Tensor, "batch steps vocabulary"],
        AttentionState,
        Float[Tensor, "batch steps source_steps"],
    ]:
        """Run over `tokens` from `state`: logits, new state, weights."""
        hidden, state, weights = self.run(tokens, memory, state)
        return self.output(hidden), state, weights

    def run(
        self,
        tokens: Int[Tensor, "batch steps"],
        memory: Memory,
        state: AttentionState | None,
    ) -> tuple[
        Float[Tensor, "batch steps vector"],
        AttentionState,
        Float[Tensor, "batch steps source_steps"],
    ]:
        """The same, with what `output` makes the logits of in their place."""
        state = self.begin(memory) if state is None else state
        inputs = self.dropout(self.embedding(tokens))
        # inputs: (batch, steps, embedding)
        blocks = inputs.split(1, dim=1) if self.stepwise else [inputs]
        vectors, weights = [], []
        for block in blocks:
            vector, state, used = self._advance(block, memory, state)
            vectors.append(vector)
            weights.append(used)
        vector, used = map(_joined, (vectors, weights))
        # vector: (batch, steps, hidden)
        return self.projection(self.dropout(vector)), state, used

    def teach(
        self,
        tokens: Int[Tensor, "batch steps"],
        memory: Memory,
    ) -> tuple[
        Float[Tensor, "batch steps vector"],
        Float[Tensor, "batch steps source_steps"],
    ]:
        """Vectors and weights of all steps, from the first one on.

        Where the steps follow each other, a row that has only padding left
        leaves the batch, and has zeros from there on.
        """
        if not self.stepwise:
            vector, _, weights = self.run(tokens, memory, None)
            return vector, weights
        places = torch.arange(1, tokens.shape[1] + 1, device=tokens.device)
        lengths = (places * (tokens != PAD)).amax(1)
        order = lengths.argsort(descending=True)  # the longest row first
        memory = take_rows(memory, order)
        inputs = self.dropout(self.embedding(tokens))[order].split(1, dim=1)
        state, found, rows, steps = self.begin(memory), [], [], []
        going = (lengths[:, None] >= places).sum(0).tolist()
        sizes = computed_rows(going)
        for step, (count, size) in enumerate(zip(going, sizes, strict=True)):
            if count == 0:
                break
            if size < len(memory.mask):
                memory = take_rows(memory, slice(size))
                state = take_rows(state, slice(size))
            vector, state, weights = self._advance(
                inputs[step][:size], memory, state
            )
            found.append((vector[:count, 0], weights[:count, 0]))
            rows.append(order[:count])
            steps.append(torch.full_like(order[:count], step))
        where = torch.cat(rows), torch.cat(steps)

        def placed(parts: tuple[Tensor, ...]) -> Tensor:
            part = torch.cat(parts)
            whole = part.new_zeros(*tokens.shape, part.shape[-1])
            return whole.index_put(where, part)

        vector, weights = map(placed, zip(*found, strict=True))
        return self.projection(self.dropout(vector)), weights

    def _advance(
        self, inputs: Tensor, memory: Memory, state: AttentionState
    ) -> tuple[Tensor, AttentionState, Tensor]:
        """One step, or all at once where the steps allow it."""
        recurrent, feed, coverage = state
        if self.config.query == "before":
            query = recurrent[0][:, -1:]  # query: (batch, 1, hidden)
            context, weights = self.ask(memory, query, coverage)
            inputs = torch.cat([inputs, context], dim=-1)
            vector, recurrent = run_loop(self.loop, inputs, recurrent)
        else:
            if feed is not None:
                inputs = torch.cat([inputs, feed], dim=-1)
            hidden, recurrent = run_loop(self.loop, inputs, recurrent)
            context, weights = self.ask(memory, hidden, coverage)
            vector = self.attentional(context, hidden)
            feed = None if feed is None else vector
        if coverage is not None:
            coverage = coverage + weights.sum(1)
        return vector, AttentionState(recurrent, feed, coverage), weights


class RecurrentModel(nn.Module):
    """Encoder and decoder, with one context vector C or attention between.

    `bridge` turns C into the decoder's first state, `s_0 = tanh(W C + b)`.

    Args:
        source_vocab_size, target_vocab_size: ids on each side.
        config: the architecture.
    """

    def __init__(
        self,
        source_vocab_size: int,
        target_vocab_size: int,
        config: RecurrentConfig | None = None,
    ):
        super().__init__()
        self.config = config = config or RecurrentConfig()
        self.encoder = (
            Encoder(source_vocab_size, config)
            if config.encoder == "text"
            else ImageEncoder(
                source_vocab_size, config.hidden_size, config.dropout
            )
        )
        size = config.context_size or self.encoder.summary_size
        self.squeeze = (
            nn.Sequential(Linear(self.encoder.summary_size, size), nn.Tanh())
            if config.context_size
            else nn.Identity()
        )
        state_size = config.num_layers * config.hidden_size
        self.bridge = Linear(size, config.state_parts * state_size)
        if config.attention == "none":
            self.decoder = Decoder(target_vocab_size, size, config)
        else:
            self.decoder = AttentionDecoder(
                target_vocab_size, self.encoder.state_size, config
            )
        if config.shared_embeddings:
            share_table(
                self.output, self.encoder.embedding, self.decoder.embedding
            )

    def encode(
        self,
        source: Int[Tensor, "batch source_steps"],
        source_mask: Bool[Tensor, "batch source_steps"],
    ) -> Memory:
        """Read the sources. Call it once per batch of sentences.

        Raises:
            TypeError, ValueError: see `batches.check_source_mask`.
        """
        with packed_weights():  # each step has the same
            states, summary = self.encoder(source, source_mask)
        context = self.squeeze(summary)  # context: (batch, context)
        bridged = torch.tanh(self.bridge(context))
        shape = (self.config.num_layers, self.config.hidden_size)
        initial = tuple(
            part.unflatten(1, shape)  # (batch, layers, hidden)
            for part in bridged.chunk(self.config.state_parts, 1)
        )
        mask, keys = self.encoder.state_mask(source_mask), None
        if self.config.attention != "none":
            project = self.decoder.score.project_keys
            keys = of_real(project, states, mask)
        return Memory(states, mask, context, initial, keys)

    def decode(
        self, memory: Memory, target_in: Int[Tensor, "batch target_steps"]
    ) -> tuple[
        Float[Tensor, "batch target_steps vocabulary"],
        Float[Tensor, "batch target_steps source_steps"] | None,
    ]:
        """Teacher forcing: logits of all steps, and the attention's weights.

        The weights are None without attention. Where `target_in` is padding
        both mean nothing.

        Raises:
            ValueError: if there are not as many targets as sources, or a
                source is too long for location attention.
        """
        hidden, weights = self.hidden(memory, target_in)
        return self.output(hidden), weights

    def hidden(
        self, memory: Memory, target_in: Int[Tensor, "batch target_steps"]
    ) -> tuple[
        Float[Tensor, "batch target_steps vector"],
        Float[Tensor, "batch target_steps source_steps"] | None,
    ]:
        """`decode` up to the vectors that `output` makes the logits of."""
        check_targets(target_in, memory.mask)
        if self.config.attends:
            return self.decoder.teach(target_in, memory)
        hidden, _, weights = self.decoder.run(target_in, memory, None)
        return hidden, weights

    @property
    def output(self) -> nn.Linear:
        """The layer from a vector to the logits of the vocabulary."""
        return self.decoder.output

    def step(
        self,
        memory: Memory,
        token: Int[Tensor, " batch"],
        state: State | AttentionState | None = None,
    ) -> tuple[
        Float[Tensor, "batch vocabulary"],
        State | AttentionState,
        Float[Tensor, "batch source_steps"] | None,
    ]:
        """One step: feed `token`, get logits, the next state, the weights.

        `state` None stands for the first step, which is fed `<sos>`.
        """
        logits, state, weights = self.decoder(token[:, None], memory, state)
        weights = None if weights is None else weights[:, 0]
        return logits[:, 0], state, weights
