"""The same translator by us and by each peer, with the same weights.

The peers' models differ in detail, so each has a twin here, put together
from our library's layers, that computes the same function:

- `d2l`: a GRU that reads the source from the start; its last state is the
  first state of the decoder; additive attention, asked by the state before
  the step (`bahdanau2015`).
- `joeynmt`: a GRU from both ends, a bridge to the decoder's first state,
  additive scores, asked by the state after the step, whose attentional
  vector is fed to the next step, as it is by default, or is not.
- `transformer`: torch.nn.Transformer, whose layers ours are laid out as.
"""

import warnings
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from benchmarks.peers import import_d2l, import_joeynmt
from benchmarks.workload import SIZE, VOCABULARY
from s2s_lib.batches import Batch
from s2s_lib.losses import batch_loss
from s2s_lib.onednn import Linear
from s2s_lib.recurrent import Memory, RecurrentConfig, RecurrentModel
from s2s_lib.training import TrainingConfig, updater
from s2s_lib.transformer import (
    Layer,
    Stack,
    TransformerConfig,
    TransformerModel,
    sinusoidal,
)
from s2s_lib.vocab import EOS, PAD, SOS, UNK

RATE, CLIP = 1e-3, 1.0
Step = Callable[[Batch], object]
# A parameter of ours, the peer's, and how ours becomes theirs.
Match = tuple[Tensor, Tensor, Callable[[Tensor], Tensor]]


@dataclass(frozen=True)
class Pair:
    """A peer's model and ours, with equal weights.

    Args:
        name: of the peer.
        theirs, ours: the models.
        their_loss: the peer's loss of a batch, as it is trained with.
        their_step: one update by the peer's own means.
        matches: which parameter of ours is which of theirs.
    """

    name: str
    theirs: nn.Module
    ours: nn.Module
    their_loss: Callable[[Batch], Tensor]
    their_step: Step
    matches: list[Match]

    def our_step(self) -> Step:
        """One update, as `s2s_lib.training.fit` makes it."""
        config = TrainingConfig(learning_rate=RATE, clip_norm=CLIP)
        return updater(self.ours, config)

    def check(self, batches: list[Batch]) -> None:
        """Loss and every gradient agree, up to rounding.

        Raises:
            AssertionError: if they do not.
        """
        for batch in batches:
            self.ours.zero_grad()
            self.theirs.zero_grad()
            own, others = batch_loss(self.ours, batch), self.their_loss(batch)
            torch.testing.assert_close(own, others, rtol=1e-5, atol=1e-5)
            own.backward()
            others.backward()
            for mine, peer, as_theirs in self.matches:
                torch.testing.assert_close(
                    as_theirs(mine.grad), peer.grad, rtol=1e-3, atol=2e-6
                )
        self.ours.zero_grad()
        self.theirs.zero_grad()


def same(weight: Tensor) -> Tensor:
    """For a parameter that both lay out alike."""
    return weight


def named(ours: nn.Module, theirs: nn.Module, end: str = "") -> list[Match]:
    """Parameters of equal names, but for an `end` that theirs have."""
    peers = dict(theirs.named_parameters())
    return [
        (own, peers[name + end], same) for name, own in ours.named_parameters()
    ]


@torch.no_grad()
def copied(matches: list[Match]) -> list[Match]:
    """The same list, after giving the peer our weights."""
    for own, peer, as_theirs in matches:
        peer.copy_(as_theirs(own))
    return matches


class _Unbridged(RecurrentModel):
    """Our encoder and decoder; the last state is the first, as it is."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        del self.bridge

    def encode(self, source, source_mask):
        states, summary = self.encoder(source, source_mask)
        keys = self.decoder.score.project_keys(states)
        return Memory(states, source_mask, summary, (summary[:, None],), keys)


def _d2l_decoder(vocabulary: int, size: int) -> nn.Module:
    """D2L's decoder with attention, made of the package's parts.

    Its book defines it in a chapter (10.4), and the package has only its
    parts: at each step the state asks, `AdditiveAttention` projects the
    encoder's states and answers, and the answer joins the word as the input
    of a GRU. One thing differs: the first state is the one after the last
    word, where D2L takes the one after the padding.
    """
    d2l = import_d2l()

    class AttentionDecoder(d2l.AttentionDecoder):
        def __init__(self):
            super().__init__()
            self.attention = d2l.AdditiveAttention(size, 0.0)
            self.embedding = nn.Embedding(vocabulary, size)
            self.rnn = nn.GRU(2 * size, size, 1)
            self.dense = nn.LazyLinear(vocabulary)

        def init_state(self, encoded, lengths):
            outputs, _ = encoded
            states = outputs.permute(1, 0, 2)
            rows = torch.arange(len(states))
            return states, states[rows, lengths - 1][None], lengths

        def forward(self, tokens, state):
            states, hidden, lengths = state
            steps = []
            for word in self.embedding(tokens).permute(1, 0, 2):
                context = self.attention(
                    hidden[-1][:, None], states, states, lengths
                )
                both = torch.cat([word[:, None], context], dim=-1)
                output, hidden = self.rnn(both.permute(1, 0, 2), hidden)
                steps.append(output)
            logits = self.dense(torch.cat(steps, dim=0)).permute(1, 0, 2)
            return logits, (states, hidden, lengths)

    return AttentionDecoder()


def d2l(vocabulary: int = VOCABULARY, size: int = SIZE) -> Pair:
    """D2L 1.0.3 and its twin."""
    torch.manual_seed(0)
    package = import_d2l()
    config = RecurrentConfig(
        embedding_size=size,
        hidden_size=size,
        bidirectional=False,
        attention="additive",
    )
    ours = _Unbridged(vocabulary, vocabulary, config)
    theirs = package.EncoderDecoder(
        package.Seq2SeqEncoder(vocabulary, size, size, 1),
        _d2l_decoder(vocabulary, size),
    )
    one = torch.full((1, 1), EOS)
    theirs(one, one, torch.ones(1, dtype=torch.long))
    reader, writer = ours.encoder, ours.decoder
    other = theirs.decoder
    matches = copied(
        [
            *named(reader.embedding, theirs.encoder.embedding),
            *named(reader.layers[0][0], theirs.encoder.rnn.rnn),
            *named(writer.embedding, other.embedding),
            *named(writer.loop, other.rnn),
            *named(writer.score.query, other.attention.W_q),
            *named(writer.score.key, other.attention.W_k),
            *named(writer.score.v, other.attention.w_v),
            *named(writer.output, other.dense),
        ]
    )

    def loss(batch: Batch) -> Tensor:
        lengths = batch.source_mask.sum(1)
        logits = theirs(batch.source, batch.target_in, lengths)
        each = theirs.loss(logits, batch.target_out, averaged=False)
        mask = (batch.target_out.reshape(-1) != PAD).float()
        return (each * mask).sum() / mask.sum()

    optimizer = torch.optim.Adam(theirs.parameters(), lr=RATE)

    def step(batch: Batch) -> None:
        value = loss(batch)
        optimizer.zero_grad()
        with torch.no_grad():
            value.backward()
            package.Trainer.clip_gradients(None, CLIP, theirs)
            optimizer.step()

    return Pair("D2L 1.0.3", theirs, ours, loss, step, matches)


def joeynmt(
    vocabulary: int = VOCABULARY, size: int = SIZE, input_feeding: bool = True
) -> Pair:
    """JoeyNMT 2.3 and its twin."""
    torch.manual_seed(0)
    package = import_joeynmt()
    config = RecurrentConfig(
        embedding_size=size,
        hidden_size=size,
        attention="additive",
        query="after",
        input_feeding=input_feeding,
    )
    ours = RecurrentModel(vocabulary, vocabulary, config)
    reader, writer = ours.encoder, ours.decoder
    # Theirs has a bias here, and none at the output.
    writer.combine = Linear(3 * size, size)
    nn.init.zeros_(writer.output.bias).requires_grad_(False)

    model = package.model
    encoder = model.RecurrentEncoder(hidden_size=size, emb_size=size)
    decoder = model.RecurrentDecoder(
        emb_size=size,
        hidden_size=size,
        encoder=encoder,
        vocab_size=vocabulary,
        input_feeding=input_feeding,
    )
    special = SimpleNamespace(
        pad_index=PAD,
        bos_index=SOS,
        eos_index=EOS,
        unk_index=UNK,
        sep_index=None,
        specials=["<pad>", "<sos>", "<eos>", "<unk>"],
        lang_tags=[],
        lookup=["<pad>", "<sos>", "<eos>", "<unk>"].index,
    )
    tables = [
        model.Embeddings(size, vocab_size=vocabulary, padding_idx=PAD)
        for _ in range(2)
    ]
    theirs = model.Model(encoder, decoder, *tables, special, special)
    theirs.loss_function = "crossentropy", 0.0

    def state_first(weight: Tensor) -> Tensor:
        return torch.cat([weight[:, 2 * size :], weight[:, : 2 * size]], 1)

    (forwards, backwards), attention = reader.layers[0], decoder.attention
    matches = copied(
        [
            *named(reader.embedding, theirs.src_embed.lut),
            *named(forwards, encoder.rnn),
            *named(backwards, encoder.rnn, "_reverse"),
            *named(ours.bridge, decoder.bridge_layer),
            *named(writer.embedding, theirs.trg_embed.lut),
            *named(writer.loop, decoder.rnn),
            *named(writer.score.query, attention.query_layer),
            *named(writer.score.key, attention.key_layer),
            *named(writer.score.v, attention.energy_layer),
            (
                writer.combine.weight,
                decoder.att_vector_layer.weight,
                state_first,
            ),
            (writer.combine.bias, decoder.att_vector_layer.bias, same),
            (writer.output.weight, decoder.output_layer.weight, same),
        ]
    )

    def loss(batch: Batch) -> Tensor:
        own = joeynmt_batch(batch)
        own.sort_by_src_length()
        total, *_ = theirs(return_type="loss", **vars(own))
        return own.normalize(total, "tokens")

    settings = {"optimizer": "adam", "learning_rate": RATE}
    optimizer = package.builders.build_optimizer(settings, theirs.parameters())
    clip = package.builders.build_gradient_clipper(
        {"clip_grad_norm": CLIP, "clip_grad_val": None}
    )

    def step(batch: Batch) -> float:
        theirs.train()
        value = loss(batch)
        value.backward()
        clip(theirs.parameters())
        optimizer.step()
        optimizer.zero_grad()
        return value.item()

    return Pair("JoeyNMT 2.3", theirs, ours, loss, step, matches)


def joeynmt_batch(batch: Batch) -> object:
    """The same batch for JoeyNMT."""
    start = torch.full_like(batch.target_out[:, :1], SOS)
    return import_joeynmt().batch.Batch(
        src=batch.source,
        src_length=batch.source_mask.sum(1),
        src_prompt_mask=None,
        trg=torch.cat([start, batch.target_out], dim=1),
        trg_prompt_mask=None,
        indices=torch.arange(len(start)),
        device=torch.device("cpu"),
        pad_index=PAD,
        eos_index=EOS,
    )


class _Torchs(nn.Module):
    """torch.nn.Transformer between our embeddings and our output layer."""

    def __init__(self, ours: TransformerModel):
        super().__init__()
        config = ours.config
        self.source = deepcopy(ours.encoder.stack.embedding)
        self.target = deepcopy(ours.decoder.embedding)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "enable_nested_tensor")
            self.layers = nn.Transformer(
                config.hidden_size,
                config.num_heads,
                config.num_layers,
                config.num_layers,
                config.feedforward_size,
                dropout=0.0,
                batch_first=True,
                norm_first=True,
            )
        self.output = deepcopy(ours.output)

    def forward(self, source, mask, target_in):
        steps = target_in.shape[1]
        hidden = self.layers(
            self._embed(self.source, source),
            self._embed(self.target, target_in),
            tgt_mask=torch.ones(steps, steps, dtype=torch.bool).triu(1),
            src_key_padding_mask=~mask,
            memory_key_padding_mask=~mask,
            tgt_is_causal=True,
        )
        return self.output(hidden)

    def _embed(self, table: nn.Embedding, tokens: Tensor) -> Tensor:
        positions = torch.arange(tokens.shape[1])[None]
        return table(tokens) + sinusoidal(positions, table.embedding_dim)


def match_layer(own: Layer, peer: nn.Module) -> list[Match]:
    """The weights of one layer of an encoder or a decoder of torch.nn."""
    parts = {
        "self_attn": own.self_attention,
        "norm1": own.self_norm,
        "linear1": own.feedforward[0],
        "linear2": own.feedforward[2],
    }
    if isinstance(peer, nn.TransformerDecoderLayer):
        parts |= {
            "multihead_attn": own.cross_attention,
            "norm2": own.cross_norm,
            "norm3": own.feedforward_norm,
        }
    else:
        parts["norm2"] = own.feedforward_norm
    return [
        match
        for name, part in parts.items()
        for match in named(part, getattr(peer, name))
    ]


def transformer(vocabulary: int = VOCABULARY) -> Pair:
    """torch.nn.Transformer and ours, at the size of the benchmark recipe."""
    torch.manual_seed(0)
    ours = TransformerModel(
        vocabulary, vocabulary, TransformerConfig(num_layers=4)
    )
    theirs = _Torchs(ours)
    stacks: list[tuple[Stack, nn.Module, nn.Embedding]] = [
        (ours.encoder.stack, theirs.layers.encoder, theirs.source),
        (ours.decoder, theirs.layers.decoder, theirs.target),
    ]
    matches = named(ours.output, theirs.output)
    for own, peer, table in stacks:
        matches += named(own.embedding, table) + named(own.norm, peer.norm)
        for layers in zip(own.layers, peer.layers, strict=True):
            matches += match_layer(*layers)
    copied(matches)
    optimizer = torch.optim.Adam(theirs.parameters(), lr=RATE)

    def loss(batch: Batch) -> Tensor:
        logits = theirs(batch.source, batch.source_mask, batch.target_in)
        return nn.functional.cross_entropy(
            logits.flatten(0, 1), batch.target_out.flatten(), ignore_index=PAD
        )

    def step(batch: Batch) -> None:
        value = loss(batch)
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(theirs.parameters(), CLIP)
        optimizer.step()

    return Pair("torch.nn.Transformer", theirs, ours, loss, step, matches)


def both(**options: int) -> Iterator[Pair]:
    """The two peers that train."""
    yield d2l(**options)
    yield joeynmt(**options)
