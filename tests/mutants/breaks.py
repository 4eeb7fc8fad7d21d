"""The breaks: each replaces one piece of the library by a real mistake."""

from typing import NamedTuple


class Break(NamedTuple):
    """One mistake.

    Args:
        name: the mistake, in words.
        module: the module of `s2s_lib` that is changed.
        right, wrong: the text to replace, which must stand there exactly
            once, and what takes its place.
        tests: where to look first; all unit tests and chapters come after.
    """

    name: str
    module: str
    right: str
    wrong: str
    tests: tuple[str, ...]


BREAKS = (
    Break(
        "the loss counts padding",
        "training",
        "logits[mask].float(), target[mask], label_smoothing",
        "logits.flatten(0, 1).float(), target.flatten(), label_smoothing",
        ("training",),
    ),
    Break(
        "the mask calls padding real",
        "batches",
        "mask = torch.arange(steps) < lengths[:, None]",
        "mask = torch.arange(steps) < lengths.max().expand(len(lengths), 1)",
        ("batches",),
    ),
    Break(
        "softmax over the batch",
        "search",
        "log_probs = logits.float().log_softmax(-1)",
        "log_probs = logits.float().log_softmax(0)",
        ("search", "invariants"),
    ),
    Break(
        "the target is not shifted",
        "batches",
        "pad([[SOS, *pair.target[:-1]] for pair in pairs])",
        "pad([pair.target for pair in pairs])",
        ("batches", "invariants"),
    ),
    Break(
        "the encoder's last state is taken from the padding",
        "recurrent",
        "summary.append(hidden[rows, last])",
        "summary.append(hidden[rows, -1])",
        ("invariants", "recurrent"),
    ),
    Break(
        "the backward reader starts in the padding",
        "recurrent",
        "positions < lengths, lengths - 1 - positions, positions",
        "positions >= 0, mask.shape[1] - 1 - positions, positions",
        ("invariants", "recurrent"),
    ),
    Break(
        "the decoder does not see C",
        "recurrent",
        "logits, _, weights = self.decoder(target_in, memory, None)",
        "logits, _, weights = self.decoder(target_in, memory._replace("
        "context=memory.context * 0, "
        "initial=tuple(part * 0 for part in memory.initial)), None)",
        ("invariants", "recurrent"),
    ),
    Break(
        "the update gate is turned round",
        "recurrent",
        "return (1 - z) * n + z * h",
        "return z * n + (1 - z) * h",
        ("recurrent",),
    ),
    Break(
        "input and forget gate are swapped",
        "recurrent",
        "(x_i, x_f, x_g, x_o), (h_i, h_f, h_g, h_o) =",
        "(x_f, x_i, x_g, x_o), (h_f, h_i, h_g, h_o) =",
        ("recurrent",),
    ),
    Break(
        "the end symbol is ignored",
        "search",
        "running = (token != EOS) & (limits > 0)",
        "running = limits > 0",
        ("search", "invariants"),
    ),
    Break(
        "the beam is not normalised by length",
        "search",
        "return log_prob / length**length_penalty",
        "return log_prob",
        ("search",),
    ),
    Break(
        "beams go on from another beam's state",
        "search",
        "state = take_rows(state, (rows * k + parent).flatten())",
        "state = state",
        ("search", "invariants"),
    ),
    Break(
        "padding may be generated",
        "search",
        "log_probs[..., [PAD, SOS]] = -torch.inf",
        "log_probs = log_probs.clone()",
        ("search",),
    ),
    Break(
        "dropout stays on while decoding",
        "search",
        "    model.eval()\n    try:",
        "    model.train()\n    try:",
        ("search", "invariants", "recipes"),
    ),
    Break(
        "BLEU without its brevity penalty",
        "metrics",
        "        result.score,\n",
        "        result.score / max(result.bp, 1e-9),\n",
        ("metrics",),
    ),
    Break(
        "length buckets lose their last length",
        "metrics",
        "if low <= n <= high]",
        "if low <= n < high]",
        ("metrics",),
    ),
    Break(
        "alignment error forgets the possible links",
        "metrics",
        "allowed = set(p) | certain",
        "allowed = certain",
        ("metrics",),
    ),
    Break(
        "perplexity with the wrong base",
        "metrics",
        "return math.exp(total_nll / num_tokens)",
        "return 2 ** (total_nll / num_tokens)",
        ("metrics", "recipes"),
    ),
    Break(
        "the vocabulary has seen the test set",
        "recipes",
        "    train = corpus.train\n",
        "    train = corpus.train + corpus.test\n",
        ("recipes",),
    ),
    Break(
        "rare words are dropped one count too late",
        "vocab",
        "if n >= min_count]",
        "if n > min_count]",
        ("vocab",),
    ),
    Break(
        "the test split may repeat training sentences",
        "corpora",
        "train = generate(num_train, 3 * seed, exclude=taken)",
        "train = generate(num_train, 3 * seed)",
        ("corpora",),
    ),
    Break(
        "reversing the source leaves the links behind",
        "recipes",
        "return frozenset((length - 1 - i, j) for i, j in links)",
        "return frozenset(links)",
        ("recipes",),
    ),
    Break(
        "gradients are not clipped",
        "training",
        "nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)",
        "nn.utils.clip_grad_norm_(model.parameters(), 1e9)",
        ("training",),
    ),
    Break(
        "the learning rate is never changed",
        "training",
        'group["lr"] = config.rate(step)',
        'group["lr"] = config.learning_rate',
        ("training",),
    ),
    Break(
        "a resumed training draws other random numbers",
        "training",
        '    torch.set_rng_state(tensors["rng.cpu"])\n',
        "",
        ("training",),
    ),
    Break(
        "a resumed training starts its epoch again",
        "training",
        "epoch, skip = divmod(step, per_epoch)",
        "epoch, skip = step // per_epoch, 0",
        ("training",),
    ),
    Break(
        "scheduled sampling always feeds the truth",
        "training",
        "torch.where(coin.to(true.device) < truth, true, guess)",
        "torch.where(coin.to(true.device) < 2, true, guess)",
        ("training",),
    ),
    Break(
        "an adjective in the wrong gender",
        "grammar",
        "return adjective.feminine if feminine else adjective.masculine",
        "return adjective.masculine",
        ("grammar",),
    ),
    Break(
        "attention is paid to padding",
        "recurrent",
        "query, keys, memory.states, memory.mask[:, None], self.score",
        "query, keys, memory.states, None, self.score",
        ("recurrent",),
    ),
    Break(
        "softmax over the queries",
        "attention",
        "scores.float().masked_fill(hidden, lowest).softmax(-1)",
        "scores.float().masked_fill(hidden, lowest).softmax(-2)",
        ("attention",),
    ),
    Break(
        "a row with nothing to attend to looks everywhere",
        "attention",
        "return weights.masked_fill(hidden, 0.0).to(scores.dtype)",
        "return weights.to(scores.dtype)",
        ("attention",),
    ),
    Break(
        "additive attention has lost its tanh",
        "attention",
        "both.tanh_() @ weight",
        "both @ weight",
        ("attention",),
    ),
    Break(
        "the slope of the factored tanh has the wrong sign",
        "attention",
        "torch.addcmul(u, u, u, value=-1, out=slope)",
        "torch.addcmul(u, u, u, value=1, out=slope)",
        ("attention",),
    ),
    Break(
        "projections that overflow are factored all the same",
        "attention",
        "FINITE = 40.0",
        "FINITE = 4000.0",
        ("attention",),
    ),
    Break(
        "scaled by d, not by its root",
        "attention",
        "return query @ keys.mT / math.sqrt(query.shape[-1])",
        "return query @ keys.mT / query.shape[-1]",
        ("attention",),
    ),
    Break(
        "the halves of a key are interleaved",
        "attention",
        "states.unflatten(-1, (-1, self.query_size)).sum(-2)",
        "states.unflatten(-1, (self.query_size, -1)).sum(-1)",
        ("attention",),
    ),
    Break(
        "positions are counted from the end",
        "attention",
        "return self.position(query)[..., :count]",
        "return self.position(query)[..., -count:]",
        ("attention",),
    ),
    Break(
        "blocks of queries are put together backwards",
        "attention",
        "return torch.cat(blocks, dim=-2)",
        "return torch.cat(blocks[::-1], dim=-2)",
        ("attention",),
    ),
    Break(
        "hard attention always takes the heaviest",
        "attention",
        "    if training:\n",
        "    if training and False:\n",
        ("attention",),
    ),
    Break(
        "the draw adds even noise, not Gumbel's",
        "attention",
        "noise = -torch.empty_like(weights).exponential_().log()",
        "noise = torch.rand_like(weights)",
        ("attention",),
    ),
    Break(
        "hard attention picks where nothing can be picked",
        "attention",
        "one = one * (weights > 0)",
        "one = one * 1.0",
        ("attention",),
    ),
    Break(
        "the straight-through gradient is lost",
        "attention",
        "return one + (weights - weights.detach())",
        "return one",
        ("attention",),
    ),
    Break(
        "the lowest layer asks",
        "recurrent",
        "query = recurrent[0][:, -1:]",
        "query = recurrent[0][:, :1]",
        ("recurrent",),
    ),
    Break(
        "the LSTM's cell asks, not its state",
        "recurrent",
        "query = recurrent[0][:, -1:]",
        "query = recurrent[-1][:, -1:]",
        ("recurrent",),
    ),
    Break(
        "the query is one step late",
        "recurrent",
        "context, weights = self.look(memory, hidden, coverage)",
        "context, weights = self.look(memory, hidden.roll(1, 1), coverage)",
        ("recurrent",),
    ),
    Break(
        "coverage remembers the last step only",
        "recurrent",
        "coverage = coverage + weights.sum(1)",
        "coverage = weights.sum(1)",
        ("recurrent",),
    ),
    Break(
        "the attentional vector is not fed on",
        "recurrent",
        "feed = None if feed is None else vector",
        "feed = feed",
        ("recurrent",),
    ),
    Break(
        "keys stand in another order than the states",
        "recurrent",
        "keys = self.decoder.score.project_keys(states)",
        "keys = self.decoder.score.project_keys(states.flip(1))",
        ("recurrent",),
    ),
    Break(
        "keys are projected again at every step",
        "recurrent",
        "        keys = memory.keys\n",
        "        keys = self.score.project_keys(memory.states)\n",
        ("invariants",),
    ),
    Break(
        "one position is drawn, all are averaged",
        "recurrent",
        "            context = weights @ memory.states\n",
        "",
        ("invariants",),
    ),
)
