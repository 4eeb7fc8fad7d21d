"""Reading translations: kinds of errors, and scores that do not compare.

The kinds are rules, not opinions, and anyone can check them on a sentence.
Rules are coarse: they find what to read, and do not read it.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from itertools import zip_longest
from statistics import fmean

import numpy as np
from sacrebleu.metrics import BLEU

from s2s_lib.metrics import bleu, bleu_of_counts, moses, tokenized_bleu
from s2s_lib.vocab import tokenize

# "un", "une" and "ein" are articles, too, and "neuf" is also "new".
NUMBERS = {
    "fr": (
        "deux", "trois", "quatre", "cinq", "six", "sept", "huit", "dix",
        "douze", "vingt",
    ),
    "de": (
        "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun",
        "zehn", "zwölf",
    ),
}  # fmt: skip
# The forms of a colour have up to three letters more: "vert", "vertes".
COLOURS = {
    "fr": (
        "noir", "blanc", "rouge", "bleu", "vert", "jaune", "brun", "marron",
        "gris", "rose", "orange", "violet", "beige",
    ),
    "de": (
        "schwarz", "weiß", "rot", "blau", "grün", "gelb", "braun", "grau",
        "rosa", "orange", "lila", "beige",
    ),
}  # fmt: skip
KINDS = (
    "exact", "repeated", "copied", "new word", "number", "colour", "short",
    "one place", "other",
)  # fmt: skip


def kind_of(
    source: Sequence[str],
    output: Sequence[str],
    reference: Sequence[str],
    language: str,
    unknown: Collection[str] = (),
) -> str:
    """The kind of a translation: the first rule of these that holds.

    - exact: it is the reference.
    - repeated: it has a word of four letters or more twice, and more often
      than the reference does.
    - copied: a word that training does not have, out of the source.
    - new word: a word that training does not have, and the source neither.
    - number, colour: other number words, or other colours, than the
      reference has.
    - short: less than four fifths of the words of the reference.
    - one place: without their common beginning and end, output and
      reference have at most two words each.
    - other: all the rest.

    Args:
        source, output, reference: words.
        language: of the target, "fr" or "de".
        unknown: words that the target side of training does not have; those
            of the reference do not count.

    Returns:
        One of `KINDS`.
    """
    ours, theirs = Counter(output), Counter(reference)
    new = [word for word in output if word in unknown and word not in theirs]
    if tuple(output) == tuple(reference):
        return "exact"
    if any(n > max(1, theirs[w]) and len(w) > 3 for w, n in ours.items()):
        return "repeated"
    if new:
        return "copied" if set(new) & set(source) else "new word"
    if numbers(output, language) != numbers(reference, language):
        return "number"
    if colours(output, language) != colours(reference, language):
        return "colour"
    if 5 * len(output) < 4 * len(reference):
        return "short"
    return "one place" if max(apart(output, reference)) <= 2 else "other"


def numbers(words: Sequence[str], language: str) -> Counter[str]:
    """How often each number word of `NUMBERS` stands in a sentence."""
    return Counter(word for word in words if word in NUMBERS[language])


def colours(words: Sequence[str], language: str) -> Counter[str]:
    """How often each colour of `COLOURS` stands there, in any form."""
    return Counter(
        colour
        for word in words
        for colour in COLOURS[language]
        if word.startswith(colour) and len(word) <= len(colour) + 3
    )


def apart(output: Sequence[str], reference: Sequence[str]) -> tuple[int, int]:
    """Words of both between their common beginning and their common end."""
    start = _in_common(output, reference)
    rests = list(output[start:]), list(reference[start:])
    end = _in_common(*(rest[::-1] for rest in rests))
    return len(rests[0]) - end, len(rests[1]) - end


def _in_common(left: Sequence[str], right: Sequence[str]) -> int:
    pairs = enumerate(zip_longest(left, right))
    same = (i for i, (a, b) in pairs if a != b)
    return next(same, len(left))


def scores(
    outputs: Sequence[str], references: Sequence[str], language: str
) -> dict[str, float]:
    """The same translations, scored in ways that must not be mixed.

    Args:
        outputs: lower-cased text.
        references: text with its capitals.

    Returns:
        Name -> score. The first two are right, and cannot be compared with
        one another; the others are mistakes.

    Raises:
        ValueError: with fewer than two sentences, or if there are not as
            many references.
    """
    if len(outputs) < 2 or len(outputs) != len(references):
        raise ValueError(
            "scores needs two sentences or more, since one mistake loses a "
            f"line, and a reference for each; not {len(outputs)} outputs and "
            f"{len(references)} references"
        )
    lower = [text.lower() for text in references]
    twice = [moses(s, language, escape=True) for s in (outputs, lower)]
    spaced = [" ".join(tokenize(text)) for text in outputs]
    curly = [text.replace("'", "’") for text in outputs]
    one = BLEU(effective_order=True)

    def sacrebleu(ours: Sequence[str], theirs: Sequence[str], **how) -> float:
        # force: sacreBLEU would warn of two of these mistakes.
        scorer = BLEU(force=True, **how)
        return scorer.corpus_score(list(ours), [list(theirs)]).score

    return {
        "tokenised by Moses": tokenized_bleu(outputs, lower, language).score,
        "sacreBLEU": bleu(outputs, lower).score,
        "capitals in the references": sacrebleu(outputs, references),
        "typographic apostrophes": sacrebleu(curly, lower),
        "outputs left in tokens": sacrebleu(spaced, lower),
        "cut at spaces alone": sacrebleu(outputs, lower, tokenize="none"),
        "tokenised twice": sacrebleu(*twice),
        "mean over sentences": fmean(
            one.sentence_score(output, [text]).score
            for output, text in zip(outputs, lower, strict=True)
        ),
        "one line lost": sacrebleu(outputs[1:], lower[:-1]),
    }


def best_of(
    first: np.ndarray,
    second: np.ndarray,
    systems: int = 20,
    trials: int = 200,
    seed: int = 0,
) -> tuple[float, float]:
    """What choosing on test sentences seems to gain, and what it does gain.

    Systems are made that are equally good in expectation: for each sentence
    each of them takes one of two translations, by the toss of a coin. The
    best of them on one half of the sentences is scored on the other half.

    Args:
        first, second: rows of `metrics.bleu_counts` of the two translations.

    Returns:
        Points of BLEU that it is ahead of the mean of all systems: on the
        half where it was chosen, and on the other; means over the trials.

    Raises:
        ValueError: if the two differ in shape, or have fewer than two rows.
    """
    if first.shape != second.shape or len(first) < 2:
        raise ValueError(
            "the two need as many rows, two or more, not "
            f"{first.shape} and {second.shape}"
        )
    draw, size = np.random.default_rng(seed), len(first)
    gains = []
    for _ in range(trials):
        coins = draw.random((systems, size, 1)) < 0.5
        mixed = np.where(coins, first, second)
        # mixed: (systems, sentences, counts)
        half = draw.permutation(size) < size // 2
        looked, fresh = (
            np.array([bleu_of_counts(counts.sum(0)) for counts in part])
            for part in (mixed[:, half], mixed[:, ~half])
        )
        best = looked.argmax()
        gains.append(
            (looked[best] - looked.mean(), fresh[best] - fresh.mean())
        )
    chosen, kept = np.mean(gains, axis=0)
    return float(chosen), float(kept)
