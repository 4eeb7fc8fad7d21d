"""Scores: BLEU, BLEU by length, perplexity, alignment error rate.

BLEU is sacreBLEU's (`post2018`), with the signature that makes a score
comparable. The rest is a few lines each.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
from sacrebleu.metrics import BLEU
from sacrebleu.metrics.bleu import BLEUScore

Links = Iterable[tuple[int, int]]


@dataclass(frozen=True)
class BleuScore:
    """Corpus BLEU (`papineni2002`) and what it is made of.

    Args:
        score: 0 to 100.
        precisions: of 1- to 4-grams, in per cent.
        brevity_penalty: 0 to 1; below 1 where the output is too short.
        signature: sacreBLEU's description of how it was computed.
    """

    score: float
    precisions: tuple[float, ...]
    brevity_penalty: float
    hypothesis_length: int
    reference_length: int
    signature: str


def _check_lengths(**sides: Sequence) -> None:
    """Each side has something for every sentence, and there is one."""
    for name, side in sides.items():
        if isinstance(side, str):
            raise TypeError(
                f"{name} must be a list of sentences, not one string, "
                f"{side[:40]!r}: its letters would be scored"
            )
    counts = {name: len(side) for name, side in sides.items()}
    if len(set(counts.values())) > 1:
        raise ValueError(
            "each sentence needs one entry of each kind, but there are "
            + ", ".join(f"{n} {name}" for name, n in counts.items())
        )
    if not all(counts.values()):
        raise ValueError("a score needs at least one sentence, and got none")


def bleu(
    hypotheses: Sequence[str],
    references: Sequence[str],
    lowercase: bool = False,
) -> BleuScore:
    """Corpus BLEU of detokenised text, one reference each.

    Args:
        hypotheses, references: sentences as text, not tokens; sacreBLEU
            tokenises them itself (13a).
        lowercase: compare without case, and say so in the signature.

    Raises:
        ValueError: if the two differ in number or are empty.
        TypeError: if one of them is a single string.
    """
    _check_lengths(hypotheses=hypotheses, references=references)
    scorer = BLEU(lowercase=lowercase)
    result = scorer.corpus_score(list(hypotheses), [list(references)])
    return _score(result, str(scorer.get_signature()))


def _score(result: BLEUScore, signature: str) -> BleuScore:
    return BleuScore(
        result.score,
        tuple(result.precisions),
        result.bp,
        result.sys_len,
        result.ref_len,
        signature,
    )


def tokenized_bleu(
    hypotheses: Sequence[str], references: Sequence[str], language: str
) -> BleuScore:
    """Corpus BLEU as most papers on Multi30k give it.

    Both sides are lower-cased, and their punctuation is normalised and split
    off by the rules of Moses (`koehn2007`), which differ between languages;
    then sacreBLEU counts. These rules cut a text into other and often more
    tokens than sacreBLEU's own do, so the two scores cannot be compared.

    Args:
        hypotheses, references: sentences as text, not tokens.
        language: of the text, as two letters: "fr".

    Raises:
        ValueError: if the two differ in number or are empty.
        TypeError: if one of them is a single string.
    """
    _check_lengths(hypotheses=hypotheses, references=references)
    sides = [moses(side, language) for side in (hypotheses, references)]
    scorer = BLEU(tokenize="none", force=True)
    result = scorer.corpus_score(sides[0], [sides[1]])
    signature = f"{scorer.get_signature()}|moses-{language}:" + version(
        "sacremoses"
    )
    return _score(result, signature.replace("case:mixed", "case:lc"))


def moses(
    sentences: Sequence[str],
    language: str,
    lowercase: bool = True,
    escape: bool = False,
) -> list[str]:
    """Text with its tokens between spaces, by the rules of Moses.

    Args:
        language: as two letters.
        escape: write `&apos;` for an apostrophe, and so on, as the script of
            Moses does unless it is told otherwise.
    """
    from sacremoses import MosesPunctNormalizer, MosesTokenizer

    normalizer = MosesPunctNormalizer(language)
    tokenizer = MosesTokenizer(language)
    return [
        tokenizer.tokenize(
            normalizer.normalize(text.lower() if lowercase else text),
            return_str=True,
            escape=escape,
        )
        for text in sentences
    ]


def bleu_counts(
    hypotheses: Sequence[str], references: Sequence[str]
) -> np.ndarray:
    """What each sentence adds to a corpus BLEU, tokens between spaces.

    Returns:
        (sentences, 10): matched 1- to 4-grams, all 1- to 4-grams of the
        hypothesis, the lengths of hypothesis and reference. Rows can be
        added up for any part of a corpus: see `bleu_of_counts`.

    Raises:
        ValueError: if the two differ in number or are empty.
        TypeError: if one of them is a single string.
    """
    _check_lengths(hypotheses=hypotheses, references=references)
    scorer = BLEU(tokenize="none", force=True, effective_order=True)
    rows = []
    for hypothesis, reference in zip(hypotheses, references, strict=True):
        found = scorer.sentence_score(hypothesis, [reference])
        sizes = [found.sys_len, found.ref_len]
        rows.append([*found.counts, *found.totals, *sizes])
    return np.array(rows)


def bleu_of_counts(counts: np.ndarray) -> float:
    """Corpus BLEU of the sum of rows of `bleu_counts`."""
    *ngrams, length, reference_length = map(int, counts)
    return BLEU.compute_bleu(
        ngrams[:4],
        ngrams[4:],
        length,
        reference_length,
        smooth_method="exp",
    ).score


def bootstrap(
    counts: np.ndarray, draws: int = 1000, seed: int = 0
) -> np.ndarray:
    """BLEU of test sets drawn from this one (`koehn2004`).

    Each has as many sentences, drawn with replacement. The same seed draws
    the same sentences for every system, so that two arrays can be compared
    draw by draw.

    Args:
        counts: rows of `bleu_counts`.

    Returns:
        (draws,) scores; the middle 95 % of them are an interval for BLEU.

    Raises:
        ValueError: if there are no rows.
    """
    draw = np.random.default_rng(seed)
    size = len(counts)
    if not size:
        raise ValueError("there are no sentences to draw from")
    return np.array(
        [
            bleu_of_counts(counts[draw.integers(size, size=size)].sum(0))
            for _ in range(draws)
        ]
    )


def bleu_by_length(
    hypotheses: Sequence[str],
    references: Sequence[str],
    lengths: Sequence[int],
    buckets: Sequence[tuple[int, int]],
    lowercase: bool = False,
) -> list[float | None]:
    """Corpus BLEU of each length bucket.

    Args:
        lengths: source tokens of each sentence.
        buckets: closed intervals (shortest, longest).

    Returns:
        A score per bucket, None for a bucket without sentences.

    Raises:
        ValueError: if the three differ in number or are empty.
        TypeError: if one of them is a single string.
    """
    _check_lengths(
        hypotheses=hypotheses, references=references, lengths=lengths
    )
    scores = []
    for low, high in buckets:
        rows = [i for i, n in enumerate(lengths) if low <= n <= high]
        scores.append(
            bleu(
                [hypotheses[i] for i in rows],
                [references[i] for i in rows],
                lowercase,
            ).score
            if rows
            else None
        )
    return scores


def perplexity(total_nll: float, num_tokens: int) -> float:
    """`exp(total_nll / num_tokens)`: the mean branching per token.

    Args:
        total_nll: negative log-likelihood of all tokens, in nats, with the
            true prefix given at every step.
        num_tokens: how many tokens that covers, `<eos>` included.

    Returns:
        The perplexity; infinity where it is too large for a float.

    Raises:
        ValueError: if `num_tokens` is below 1.
    """
    if num_tokens < 1:
        raise ValueError(
            f"perplexity needs at least one token, not {num_tokens}"
        )
    try:
        return math.exp(total_nll / num_tokens)
    except OverflowError:
        return math.inf


@dataclass(frozen=True)
class AlignmentScore:
    """How well predicted links fit a gold alignment (`och2003`).

    Args:
        error_rate: `1 - (|A & S| + |A & P|) / (|A| + |S|)`; 0 is perfect.
        precision: `|A & P| / |A|`, NaN if nothing was predicted.
        recall: `|A & S| / |S|`, NaN if there is no sure link.

    A are the predicted, S the sure and P the possible links; sure links
    count as possible.
    """

    error_rate: float
    precision: float
    recall: float


def alignment_score(
    predicted: Sequence[Links],
    sure: Sequence[Links],
    possible: Sequence[Links],
) -> AlignmentScore:
    """Error rate, precision and recall of links over a corpus.

    Args:
        predicted, sure, possible: per sentence the links (source position,
            target position).

    Raises:
        ValueError: if the three differ in number, are empty, hold no link
            at all, or a position below 0.
        TypeError: if one of them is a single string.
    """
    _check_lengths(predicted=predicted, sure=sure, possible=possible)
    in_sure = in_possible = all_predicted = all_sure = 0
    for a, s, p in zip(predicted, sure, possible, strict=True):
        links, certain, allowed = set(a), set(s), set(p)
        for link in links | certain | allowed:
            if min(link) < 0:
                raise ValueError(f"positions count from 0: {tuple(link)}")
        in_sure += len(links & certain)
        in_possible += len(links & (allowed | certain))
        all_predicted += len(links)
        all_sure += len(certain)
    if all_predicted + all_sure == 0:
        raise ValueError("there is neither a predicted nor a sure link")
    return AlignmentScore(
        1 - (in_sure + in_possible) / (all_predicted + all_sure),
        in_possible / all_predicted if all_predicted else math.nan,
        in_sure / all_sure if all_sure else math.nan,
    )


def alignment_error_rate(
    predicted: Sequence[Links],
    sure: Sequence[Links],
    possible: Sequence[Links],
) -> float:
    """The error rate of `alignment_score` alone; it raises the same."""
    return alignment_score(predicted, sure, possible).error_rate


def alignment_by_class(
    predicted: Sequence[Links],
    sure: Sequence[Links],
    possible: Sequence[Links],
    classes: Sequence[Sequence[str]],
) -> dict[str, AlignmentScore]:
    """`alignment_score` of the links of each class of source words.

    Args:
        predicted, sure, possible: as for `alignment_score`.
        classes: per sentence the class of each source word. A link to a
            position that has none (such as `<eos>`) is left out.

    Returns:
        Class -> score, by name; a class without links is left out.

    Raises:
        ValueError: if the four differ in number or are empty, or a link
            that counts has a position below 0.
        TypeError: if one of them is a single string.
    """
    _check_lengths(
        predicted=predicted, sure=sure, possible=possible, classes=classes
    )
    names = sorted({name for row in classes for name in row})
    sides = [[*map(set, side)] for side in (predicted, sure, possible)]
    scores = {}
    for name in names:
        kept = [
            [
                {(i, j) for i, j in links if i < len(row) and row[i] == name}
                for links, row in zip(side, classes, strict=True)
            ]
            for side in sides
        ]
        if any(map(len, kept[0])) or any(map(len, kept[1])):
            scores[name] = alignment_score(*kept)
    return scores


def links_from_weights(
    weights: Sequence[Sequence[float]] | np.ndarray, source_words: int
) -> set[tuple[int, int]]:
    """One link per target word: to the source word of the largest weight.

    Args:
        weights: (target words, source tokens) of one sentence.
        source_words: positions from here on (`<eos>`, padding) are no
            words; a target word whose largest weight lies there gets no
            link, nor does one whose weights are all 0.

    Returns:
        Links (source position, target position).
    """
    return {
        (int(np.argmax(row)), j)
        for j, row in enumerate(np.asarray(weights, dtype=float))
        if row.max(initial=0) > 0 and np.argmax(row) < source_words
    }


def pointing_entropy(
    weights: Sequence[Sequence[float]] | np.ndarray,
) -> float:
    """Mean entropy of the rows, in nats: 0 if each looks at one position.

    `exp` of it is about the number of positions that a row looks at.

    Args:
        weights: (target words, source tokens); rows sum to 1.

    Raises:
        ValueError: if there is no row.
    """
    grid = np.asarray(weights, dtype=float)
    if grid.ndim != 2 or not grid.size:
        raise ValueError(
            f"weights of shape {grid.shape} have no rows; (target words, "
            "source tokens) was expected, 1 or more of each"
        )
    logs = np.log(np.where(grid > 0, grid, 1.0))
    return float(-(grid * logs).sum(1).mean()) + 0.0


def accuracy_by_position(
    predictions: Sequence[Sequence[str]],
    references: Sequence[Sequence[str]],
    width: int = 5,
) -> list[float]:
    """Share of reference tokens met at the same position of the output.

    Args:
        predictions, references: tokens per sentence. A prediction that is
            too short misses the positions it lacks.
        width: positions per bin: 0 .. width - 1 are the first.

    Returns:
        One share per bin, up to the longest reference.

    Raises:
        ValueError: if the two differ in number or are empty, or `width` is
            below 1.
        TypeError: if one of them is a single string.
    """
    if width < 1:
        raise ValueError(f"width must be 1 position or more, not {width}")
    _check_lengths(predictions=predictions, references=references)
    bins = 1 + (max(map(len, references)) - 1) // width
    hits, seen = [0] * bins, [0] * bins
    for predicted, reference in zip(predictions, references, strict=True):
        for t, token in enumerate(reference):
            seen[t // width] += 1
            hits[t // width] += t < len(predicted) and predicted[t] == token
    return [h / n if n else math.nan for h, n in zip(hits, seen, strict=True)]


def repetitions(tokens: Sequence[str], n: int = 4) -> int:
    """How many n-grams of a sentence are copies of an earlier one of it.

    Args:
        tokens: the sentence.
        n: how many tokens are taken together.

    Raises:
        ValueError: if `n` is below 1.
    """
    if n < 1:
        raise ValueError(f"n tokens are taken together, 1 or more, not {n}")
    grams = [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
    return len(grams) - len(set(grams))


def recall_by_source_position(
    predictions: Sequence[Sequence[str]],
    references: Sequence[Sequence[str]],
    sure: Sequence[Links],
    source_lengths: Sequence[int],
    bins: int = 10,
) -> list[float]:
    """Which parts of the source survive: word recall by relative position.

    A sure link (i, j) counts as recalled if the output holds the reference
    word j at any place; each word of the output is used at most once.

    Args:
        predictions, references: target tokens per sentence.
        sure: gold links (source position, target position).
        source_lengths: source tokens per sentence.
        bins: equal parts of the source, from its start to its end.

    Returns:
        One share per part; NaN for a part without links.

    Raises:
        ValueError: if the four differ in number or are empty, a link lies
            outside its sentence, or `bins` is below 1.
        TypeError: if one of them is a single string.
    """
    if bins < 1:
        raise ValueError(f"bins must be 1 part or more, not {bins}")
    _check_lengths(
        predictions=predictions,
        references=references,
        sure=sure,
        source_lengths=source_lengths,
    )
    hits, seen = [0] * bins, [0] * bins
    rows = zip(predictions, references, sure, source_lengths, strict=True)
    for predicted, reference, links, length in rows:
        found = _matched_positions(predicted, reference)
        for i, j in links:
            if not (0 <= i < length and 0 <= j < len(reference)):
                raise ValueError(
                    f"link {(i, j)} lies outside its sentence: {length} "
                    f"source and {len(reference)} target tokens"
                )
            part = i * bins // length
            seen[part] += 1
            hits[part] += j in found
    return [h / n if n else math.nan for h, n in zip(hits, seen, strict=True)]


def _matched_positions(
    predicted: Sequence[str], reference: Sequence[str]
) -> set[int]:
    """Reference positions whose word the output holds often enough.

    Where the output has a word too seldom, the places it came nearest to
    are the ones that count as found.
    """
    places: dict[str, list[int]] = {}
    for t, token in enumerate(predicted):
        places.setdefault(token, []).append(t)
    found = set()
    wanted = sorted(
        (min((abs(t - j) for t in places[token]), default=0), j, token)
        for j, token in enumerate(reference)
        if token in places
    )
    for _, j, token in wanted:
        if places[token]:
            places[token].remove(min(places[token], key=lambda t: abs(t - j)))
            found.add(j)
    return found
