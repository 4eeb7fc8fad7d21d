"""Part I: reading, training and decoding without attention."""

from collections.abc import Iterator

import torch
from torch import nn

from benchmarks.peers import import_d2l
from benchmarks.timing import Row, compare
from s2s_lib import corpora
from s2s_lib.batches import Batch, encode_pairs, make_batches, pad
from s2s_lib.catalogue import PLAIN
from s2s_lib.models import build
from s2s_lib.recurrent import Encoder, RecurrentConfig
from s2s_lib.search import greedy
from s2s_lib.training import masked_cross_entropy
from s2s_lib.vocab import EOS, SOS

BATCHES = 8


def rows() -> Iterator[Row]:
    """Measure one row after the other; each checks that both agree."""
    corpus = corpora.generated(num_train=3000, num_test=100, num_valid=100)
    trained = build(PLAIN, corpus, seed=0)
    encoded = encode_pairs(
        corpus.train, trained.source_vocab, trained.target_vocab
    )
    generator = torch.Generator().manual_seed(0)
    batches = list(make_batches(encoded, 64, generator))[:BATCHES]
    generator = torch.Generator().manual_seed(0)
    mixed = list(make_batches(encoded, 64, generator, bucket=False))[:BATCHES]
    size = len(trained.source_vocab)
    yield _two_readers_and_packing(size, batches)
    yield _one_reader_and_d2l(size, batches)
    yield _buckets(trained.model, batches, mixed)
    yield _greedy_and_one_by_one(trained, corpus)
    yield _greedy_and_d2l(trained.model.eval(), batches[0])


def _read_and_learn(reader: nn.Module, batches: list[Batch]) -> None:
    for batch in batches:
        reader.zero_grad()
        reader(batch.source, batch.source_mask)[1].sum().backward()


class _Packed(nn.Module):
    """The usual way: torch's bidirectional loop on a packed sequence."""

    def __init__(self, encoder: Encoder, config: RecurrentConfig):
        super().__init__()
        self.embedding = encoder.embedding
        self.loop = nn.GRU(
            config.embedding_size,
            config.hidden_size,
            batch_first=True,
            bidirectional=True,
        )
        (readers,) = encoder.layers
        with torch.no_grad():
            for reader, end in zip(readers, ("", "_reverse"), strict=True):
                for name, value in reader.named_parameters():
                    getattr(self.loop, name + end).copy_(value)

    def forward(self, source, mask):
        packed = nn.utils.rnn.pack_padded_sequence(
            self.embedding(source),
            mask.sum(1),
            batch_first=True,
            enforce_sorted=False,
        )
        states, final = self.loop(packed)
        states, _ = nn.utils.rnn.pad_packed_sequence(states, batch_first=True)
        return states, final.transpose(0, 1).flatten(1)


def _two_readers_and_packing(size: int, batches: list[Batch]) -> Row:
    config = RecurrentConfig()
    ours = Encoder(size, config)
    theirs = _Packed(ours, config)
    for batch in batches:
        for a, b in zip(
            ours(batch.source, batch.source_mask),
            theirs(batch.source, batch.source_mask),
            strict=True,
        ):
            torch.testing.assert_close(a, b)
    return compare(
        "read from both ends, with gradient",
        "torch.nn.GRU, packed",
        lambda: _read_and_learn(theirs, batches),
        lambda: _read_and_learn(ours, batches),
        "states and C",
    )


def _one_reader_and_d2l(size: int, batches: list[Batch]) -> Row:
    d2l = import_d2l()
    config = RecurrentConfig(bidirectional=False)
    ours = Encoder(size, config)
    peer = d2l.Seq2SeqEncoder(
        size, config.embedding_size, config.hidden_size, 1
    )
    loop = next(m for m in peer.modules() if isinstance(m, nn.GRU))
    loop.load_state_dict(ours.layers[0][0].state_dict())
    peer.embedding.load_state_dict(ours.embedding.state_dict())

    def theirs(source, mask):
        outputs, state = peer(source)
        return outputs.transpose(0, 1), state[0]

    for batch in batches:
        mask = batch.source_mask
        states, _ = ours(batch.source, mask)
        others, _ = theirs(batch.source, mask)
        torch.testing.assert_close(states[mask], others[mask])

    def learn():
        for batch in batches:
            peer.zero_grad()
            theirs(batch.source, batch.source_mask)[1].sum().backward()

    return compare(
        "read from the start, with gradient",
        "D2L 1.0.3 (reads the padding too)",
        learn,
        lambda: _read_and_learn(ours, batches),
        "states of real tokens",
    )


def _train(model: nn.Module, batches: list[Batch], tokens: int) -> None:
    done = 0
    for batch in batches:
        memory = model.encode(batch.source, batch.source_mask)
        logits, _ = model.decode(memory, batch.target_in)
        loss = masked_cross_entropy(
            logits, batch.target_out, batch.target_mask
        )
        model.zero_grad()
        loss.backward()
        done += int(batch.target_mask.sum())
        if done >= tokens:
            return


def _buckets(
    model: nn.Module, batches: list[Batch], mixed: list[Batch]
) -> Row:
    totals = [
        sum(int(b.target_mask.sum()) for b in some)
        for some in (batches, mixed)
    ]
    tokens = min(totals)
    return compare(
        "training step, per target token",
        "the same, batches not sorted by length",
        lambda: _train(model, mixed, tokens),
        lambda: _train(model, batches, tokens),
        "same model, equally many tokens (to one batch)",
    )


def _greedy_and_one_by_one(trained, corpus) -> Row:
    model = trained.model.eval()
    ids = [
        [*trained.source_vocab.encode(pair.source), EOS]
        for pair in corpus.test[::2]
    ]

    @torch.no_grad()
    def together():
        return greedy(model, model.encode(*pad(ids)), 40)

    @torch.no_grad()
    def one_by_one():
        return [greedy(model, model.encode(*pad([i])), 40)[0] for i in ids]

    a, b = together(), one_by_one()
    assert [h.tokens for h in a] == [h.tokens for h in b]
    return compare(
        f"greedy search, {len(ids)} sentences",
        "the same, one by one",
        one_by_one,
        together,
        "all tokens",
    )


def _greedy_and_d2l(model: nn.Module, batch: Batch) -> Row:
    """D2L's decoding loop and ours over one and the same decoder."""
    d2l = import_d2l()
    steps = 40

    class Reader(d2l.Encoder):
        def forward(self, source, *_):
            return model.encode(source, batch.source_mask)

    class Writer(d2l.Decoder):
        def init_state(self, memory, *_):
            return memory, None

        def forward(self, tokens, state):
            memory, state = state
            logits, state, _ = model.step(memory, tokens[:, 0], state)
            return logits[:, None], [memory, state]

    pair = d2l.EncoderDecoder(Reader(), Writer())
    start = torch.full((len(batch.source), 1), SOS)
    lengths = batch.source_mask.sum(1)
    inputs = (batch.source, start, lengths, batch.target_out)

    @torch.no_grad()
    def theirs():
        return pair.predict_step(inputs, torch.device("cpu"), steps)[0]

    @torch.no_grad()
    def ours():
        memory = model.encode(batch.source, batch.source_mask)
        return greedy(model, memory, steps)

    # Theirs never stops; up to <eos> the tokens must be the same.
    for row, found in zip(theirs().tolist(), ours(), strict=True):
        assert tuple(row[: len(found.tokens)]) == found.tokens
    return compare(
        f"greedy search, {len(batch.source)} sentences, untrained",
        "D2L 1.0.3's loop (a fixed number of steps)",
        theirs,
        ours,
        "all tokens up to <eos>",
    )
