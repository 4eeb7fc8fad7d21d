"""A small synchronous grammar: English-French pairs with gold alignment.

English is written from left to right; every French word carries the English
positions that it translates, so that the alignment is made with the sentence
and never guessed afterwards. Links are sure or possible as in `och2003`: a
word and its translation are a sure link; function words without an exact
counterpart (``does`` with ``ne`` and ``pas``) are possible links.

Each English sentence has exactly one French translation. To keep it so, a
relative clause always belongs to the noun just before it, and only the last
of several coordinated phrases has one.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from random import Random

from s2s_lib import lexicon
from s2s_lib.lexicon import ADJECTIVES, NOUNS, VERBS, Adjective, Noun, Verb

BUCKETS = ((1, 10), (11, 20), (21, 30), (31, 40), (41, 60))
SHARES = (0.22, 0.22, 0.21, 0.19, 0.16)
SHORTEST, LONGEST = 4, 60
ELISION = {"le": "l'", "la": "l'", "de": "d'", "ne": "n'"} | {
    "que": "qu'",
    "je": "j'",
}
CONTRACTION = {
    ("de", "le"): "du",
    ("de", "les"): "des",
    ("à", "le"): "au",
    ("à", "les"): "aux",
}

# A French word, and the English positions of its sure and possible links.
Word = tuple[str, tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True)
class SentencePair:
    """A sentence, its translation and, where known, its alignment.

    `sure` and `possible` hold (source position, target position) from 0;
    `sure` is a subset of `possible`. Both are empty for real corpora, which
    have the raw text instead. `source_classes` gives the word class of each
    source token (generated pairs only).
    """

    source: tuple[str, ...]
    target: tuple[str, ...]
    sure: frozenset[tuple[int, int]] = frozenset()
    possible: frozenset[tuple[int, int]] = frozenset()
    source_text: str | None = None
    target_text: str | None = None
    source_classes: tuple[str, ...] = ()

    @property
    def source_sentence(self) -> str:
        """The raw source text, or the joined tokens where there is none."""
        return self.source_text or _detokenize(self.source)

    @property
    def target_sentence(self) -> str:
        """The raw target text, or the joined tokens where there is none."""
        return self.target_text or _detokenize(self.target)


def _detokenize(tokens: Sequence[str]) -> str:
    from s2s_lib.vocab import detokenize

    return detokenize(list(tokens))


def starts_with_vowel(word: str) -> bool:
    """True if le, de, ne, ... are elided before this French word."""
    return word[0] in "aeiouhâàéèêîôœ" and word not in lexicon.ASPIRATED


def _suiting(table: Sequence, attribute: str) -> dict[str, list]:
    """For each noun class, the rows of the table that go with it."""
    return {
        kind: [row for row in table if kind in getattr(row, attribute)]
        for kind in "palft"
    }


NOUNS_OF = _suiting(NOUNS, "classes")
ADJECTIVES_OF = _suiting(ADJECTIVES, "classes")
VERBS_FOR = _suiting([v for v in VERBS if v.kind == "object"], "objects")
VERBS_OF = _suiting(VERBS, "subjects")
# The places that a noun or an action may be in, and other phrases of nouns.
PLACES = (("in", "l"), ("near", "l"), ("behind", "l"), ("near", "pa"))
NOUN_PHRASES = {
    "p": (*PLACES, ("with", "t")),
    "a": PLACES,
    "l": (("near", "l"), ("behind", "l")),
    "t": (("in", "l"), ("near", "l")),
}
OWNERS = dict.fromkeys(("pr", "lo", "t"), (("of", "p"),) * 4)
SINGULAR = ("the",) * 7 + ("a",) * 5 + ("this",) * 2
PLURAL = ("the",) * 7 + ("some",) * 3 + ("these",) * 2 + ("two", "three")
POSSESSIVE = ("my", "your", "his", "her", "our", "their")


@dataclass(frozen=True)
class Subject:
    """What a verb must know of its subject."""

    person: int
    feminine: bool
    kind: str
    pronoun: str = ""

    def form(self, adjective: Adjective) -> str:
        """The predicate adjective that agrees with this subject."""
        return _agree(adjective, self.feminine, self.person not in (0, 1))


def _agree(adjective: Adjective, feminine: bool, plural: bool) -> str:
    if plural:
        return (
            adjective.feminine_plural
            if feminine
            else adjective.masculine_plural
        )
    return adjective.feminine if feminine else adjective.masculine


class _Writer:
    """Writes one sentence: English into `source`, French returned.

    Each rule appends its English words and returns its French ones.
    """

    def __init__(self, random: Random) -> None:
        self.random = random.random
        self.start(0.5)

    def start(self, richness: float) -> None:
        self.source: list[str] = []
        self.classes: list[str] = []
        self.recent: list = []
        self.richness = richness

    def say(self, word: str, word_class: str) -> int:
        self.source.append(word)
        self.classes.append(word_class)
        return len(self.source) - 1

    def one(self, word: str, word_class: str, french: str) -> Word:
        """One English word and its French counterpart."""
        return french, (self.say(word, word_class),), ()

    def chance(self, probability: float) -> bool:
        return self.random() < probability

    def pick(self, choices: Sequence):
        return choices[int(self.random() * len(choices))]

    def fresh(self, choices: Sequence):
        """One of the choices, if possible not among the last few words."""
        for _ in range(4):
            chosen = self.pick(choices)
            if chosen.name not in self.recent:
                break
        self.recent = [chosen.name, *self.recent[:11]]
        return chosen

    # Noun phrases

    def determiner(self, noun: Noun, plural: bool, barred: str) -> str:
        ownable = noun.classes[0] in "atf" or "o" in noun.classes
        if ownable and self.chance(0.3):
            return self.pick(POSSESSIVE)
        while True:
            word = self.pick(PLURAL if plural else SINGULAR)
            if word not in barred.split():
                return word

    def core(
        self, kinds: str, barred: str = "", negated: bool = False
    ) -> tuple[list[Word], Noun, bool, str]:
        """Determiner, adjectives, noun; also the noun, plural, determiner.

        `barred` names determiners that must not be used here. `negated`: the
        direct object of a negated verb, where un, une become de.
        """
        noun = self.fresh(NOUNS_OF[self.pick(kinds)])
        plural = self.chance(0.35)
        if negated:
            barred = f"{barred} some two three"
        determiner = self.determiner(noun, plural, barred)
        fitting = ADJECTIVES_OF[noun.classes[0]]
        adjectives: list[Adjective] = []
        if self.chance(0.25 + 0.4 * self.richness):
            adjectives.append(self.fresh(fitting))
            if adjectives[0].before and self.chance(0.3):
                second = self.fresh(fitting)
                if not second.before:  # le petit sac rouge
                    adjectives.append(second)
        english = noun.plural if plural else noun.name
        following = adjectives[0].name if adjectives else english
        article = determiner
        if article == "a" and following[0] in "aeiou":
            article = "an"
        place = self.say(article, "determiner")
        before, after = [], []
        for adjective in adjectives:
            form = _agree(adjective, noun.feminine, plural)
            # un vieil ami, un bel hôtel
            if (
                adjective.before
                and form == adjective.masculine
                and not plural
                and not noun.feminine
                and starts_with_vowel(noun.french_singular)
            ):
                form = adjective.before_vowel
            word = self.one(adjective.name, "adjective", form)
            (before if adjective.before else after).append(word)
        french = noun.french_plural if plural else noun.french_singular
        head = self.one(english, "noun", french)
        if negated and determiner == "a":
            form = "de"  # il ne voit pas de chien
        elif determiner == "some" and before:
            form = "de"  # de petits chiens
        elif plural:
            form = lexicon.PLURAL_DETERMINERS[determiner]
        else:
            # ce chien, cette école, cet ami; mon amie, ma vieille amie
            vowel = starts_with_vowel(before[0][0] if before else french)
            form = lexicon.SINGULAR_DETERMINERS[determiner][
                2 * vowel + noun.feminine
            ]
        words = [(form, (place,), ()), *before, head, *after]
        return words, noun, plural, determiner

    def preposition(self, word: str) -> list[Word]:
        first, *rest = lexicon.PREPOSITIONS[word]
        place = self.say(word, "preposition")
        return [(first, (place,), ())] + [(r, (), (place,)) for r in rest]

    def prepositional(
        self, word: str, kinds: str, depth: int = 0
    ) -> list[Word]:
        words = self.preposition(word)
        # de + des would be de: no indefinite plural after de
        barred = "some" if word in ("of", "near") else ""
        phrase, noun, plural, _ = self.core(kinds, barred)
        if depth and self.chance(0.3 * self.richness):
            phrase += self.relative(noun, plural)
        return words + phrase

    def noun_phrase(
        self,
        kinds: str,
        depth: int = 1,
        barred: str = "",
        negated: bool = False,
    ) -> tuple[list[Word], Noun, bool, bool]:
        """A noun phrase; also its noun, plural, and if it was extended."""
        words, noun, plural, determiner = self.core(kinds, barred, negated)
        if not depth or (negated and determiner == "a"):
            return words, noun, plural, False
        length = len(words)
        if self.chance(0.4 * self.richness):
            words += self.relative(noun, plural)
        elif self.chance(0.3 * self.richness):
            choices = NOUN_PHRASES.get(noun.classes[0], ())
            # the friend of the queen, but not my friend of the queen
            if determiner in ("the", "a", "some"):
                choices += OWNERS.get(noun.classes[:2], ())
            if choices:
                words += self.prepositional(*self.pick(choices), depth)
        return words, noun, plural, len(words) > length

    def coordinated(
        self, kinds: str, depth: int = 1, barred: str = ""
    ) -> tuple[list[Word], Subject, bool]:
        """One noun phrase, or two joined by and."""
        if not self.chance(0.2 * self.richness):
            words, noun, plural, extended = self.noun_phrase(
                kinds, depth, barred
            )
            person = 4 if plural else 1
            subject = Subject(person, noun.feminine, noun.classes[0])
            return words, subject, extended
        words, first, _, _ = self.core(kinds, barred)
        words.append(self.one("and", "conjunction", "et"))
        others, second, _, extended = self.noun_phrase(
            first.classes[0], depth, barred
        )
        # masculine as soon as one of the nouns is
        feminine = first.feminine and second.feminine
        return words + others, Subject(4, feminine, first.classes[0]), extended

    def relative(self, noun: Noun, plural: bool) -> list[Word]:
        """A relative clause: who, that (subject) qui; that (object) que."""
        kind = noun.classes[0]
        future = self.chance(0.2)
        wanted = VERBS_FOR[kind]
        if wanted and (kind not in "pa" or self.chance(0.45)):
            verb = self.fresh(wanted)
            word = self.one("that", "pronoun", "que")
            french, subject = self.subject(verb.subjects, depth=0)
            words = self.verb_phrase(verb, subject, future, 0, gap=True)
            return [word, *french, *words]
        pronoun = "who" if kind == "p" else "that"
        word = self.one(pronoun, "pronoun", "qui")
        subject = Subject(4 if plural else 1, noun.feminine, kind)
        return [word, *self.predicate(subject, future, depth=0)[0]]

    # Verb phrases

    def subject(
        self, kinds: str, depth: int = 1
    ) -> tuple[list[Word], Subject]:
        if "p" in kinds and self.chance(0.35):
            english, french, person = self.pick(lexicon.SUBJECTS)
            word = self.one(english, "pronoun", french)
            return [word], Subject(person, english == "she", "p", english)
        if depth:
            words, subject, _ = self.coordinated(kinds)
            return words, subject
        words, noun, plural, _ = self.core(kinds)
        person = 4 if plural else 1
        return words, Subject(person, noun.feminine, noun.classes[0])

    def predicate(
        self, subject: Subject, future: bool, depth: int = 1
    ) -> tuple[list[Word], bool]:
        """A verb phrase for this subject; also if it ends in a clause."""
        verbs = VERBS_OF[subject.kind]
        if not verbs or self.chance(0.2):
            return self.copula(subject, future), False
        before = len(self.source)
        words = self.verb_phrase(self.fresh(verbs), subject, future, depth)
        clause = any(w in ("who", "that") for w in self.source[before:])
        return words, clause

    def verbal_group(
        self,
        subject: Subject,
        future: bool,
        english: tuple[str, str, str],
        french: str,
        adverbs: bool,
    ) -> tuple[list[Word], list[Word], bool]:
        """The verb with will, do, not, never and adverb.

        `english`: base, third person singular, other persons. Returns the
        French before the verb (ne), the verb and what follows it (pas,
        adverb), and if the verb is negated.
        """
        base, third, other = english
        copula = base == "be"
        kind = self.random()
        negation = "not" if kind < 0.2 else ""
        if adverbs and 0.2 <= kind < 0.25:
            negation = "never"
        after: list[Word] = []
        helpers: list[int] = []
        support = negation == "not" and not future and not copula
        verb = None
        if future:
            helpers.append(self.say("will", "auxiliary"))
        elif support:
            word = "does" if subject.person == 1 else "do"
            helpers.append(self.say(word, "auxiliary"))
        elif copula:  # is not, is never, is often: the verb comes first
            form = third if subject.person == 1 else other
            verb = self.say(form, "verb")
        ne: list[Word] = []
        if negation:
            place = self.say(negation, "negation")
            support_links = tuple(helpers) if support else ()
            ne = [("ne", (), (place, *support_links))]
            pas = "pas" if negation == "not" else "jamais"
            after.append((pas, (place,), support_links))
        if adverbs and negation != "never" and self.chance(0.2):
            # no "not sometimes"
            choices = lexicon.ADVERBS[: 2 if negation else 3]
            adverb, souvent = self.pick(choices)
            after.append(self.one(adverb, "adverb", souvent))
        if verb is None:
            plain = future or support
            form = third if subject.person == 1 else other
            verb = self.say(base if plain else form, "verb")
        return ne, [(french, (verb,), tuple(helpers)), *after], bool(negation)

    def copula(self, subject: Subject, future: bool) -> list[Word]:
        """is, are, will be and an adjective that agrees."""
        barred = "-y" if future else "-"  # no "will be young"
        while True:
            adjective = self.fresh(ADJECTIVES_OF[subject.kind])
            if not any(mark in adjective.marks for mark in barred):
                break
        other = "am" if subject.person == 0 else "are"
        forms = lexicon.BE_PRESENT
        french = forms[subject.person]
        if future:
            french = lexicon.BE_STEM + lexicon.FUTURE_ENDINGS[subject.person]
        ne, verb, _ = self.verbal_group(
            subject,
            future,
            ("be", "is", other),
            french,
            adverbs="s" in adjective.marks,
        )
        words = ne + verb
        if "v" in adjective.marks and self.chance(0.25):
            words.append(self.one("very", "adverb", "très"))
        form = subject.form(adjective)
        words.append(self.one(adjective.name, "adjective", form))
        return words

    def verb_phrase(
        self,
        verb: Verb,
        subject: Subject,
        future: bool,
        depth: int,
        gap: bool = False,
    ) -> list[Word]:
        """A verb and its complements; `gap`: the object is que."""
        forms = verb.future if future else verb.present
        ne, words, negated = self.verbal_group(
            subject,
            future,
            (verb.name, verb.third, verb.name),
            forms[subject.person],
            adverbs=True,
        )
        pronoun: list[Word] = []
        if verb.particle:  # listen to, wait for: one word in French
            french, sure, possible = words[0]
            place = self.say(verb.particle, "preposition")
            words[0] = (french, sure, (*possible, place))
        if gap:
            return ne + words
        if verb.kind == "to":
            words += self.prepositional("to", "p", depth)
        elif verb.kind == "give":
            words += self.core(verb.objects, "", negated)[0]
            words += self.prepositional("to", "p", depth)
        elif verb.kind == "object" and self.chance(0.25):
            # the object pronoun stands before the verb: je ne le vois pas
            # him, her: people; them: anything
            start = 0 if "p" in verb.objects else 2
            english, french = self.pick(lexicon.OBJECTS[start:])
            pronoun = [self.one(english, "pronoun", french)]
        elif verb.kind == "object":
            # aimer takes no un, des
            barred = "a some" if verb.name == "love" else ""
            if negated:
                object_, _, _, extended = self.noun_phrase(
                    verb.objects, depth, barred, negated
                )
            else:
                object_, _, extended = self.coordinated(
                    verb.objects, depth, barred
                )
            words += object_
            if extended:
                return ne + pronoun + words
        if depth and self.chance(0.3 * self.richness):
            words += self.prepositional(*self.pick(PLACES), depth)
        return ne + pronoun + words

    # Clauses

    def clause(self, future: bool) -> list[Word]:
        """Subject and predicate, or two predicates with one subject."""
        kinds = "ppaalt" if self.chance(0.2) else "ppa"
        words, subject = self.subject(kinds)
        phrase, has_clause = self.predicate(subject, future)
        words += phrase
        # After a relative clause the second predicate could be read as a
        # part of it; je would have to be repeated.
        if (
            not has_clause
            and subject.person
            and subject.kind in "pa"
            and self.chance(0.2 * self.richness)
        ):
            english, french = self.pick((("and", "et"), ("but", "mais")))
            words.append(self.one(english, "conjunction", french))
            words += self.predicate(subject, future)[0]
        return words

    def comma(self) -> Word:
        return self.one(",", "punctuation", ",")

    def sentence(self, low: int, high: int, longest: int) -> list[Word]:
        """Clauses, joined until the sentence has low to high tokens.

        Returns an empty list if it did not come out so.
        """
        goal = low + int(self.random() * (high - low + 1))
        self.start(0.2 if goal <= 10 else 0.3 + 0.6 * self.random())
        french: list[Word] = []
        future, free = False, True
        if goal > 12 and self.chance(0.15):
            french.append(self.one("when", "conjunction", "quand"))
            french += [*self.clause(False), self.comma(), *self.clause(False)]
        else:
            future = self.chance(0.35)
            french += self.clause(future)
        failures = 0
        while len(self.source) + 1 < goal and failures < 4:
            length = len(self.source)
            link = "and" if self.chance(0.7) else "but"
            if free and self.chance(0.4):
                # when joins two presents: French would have a future
                link = "because" if future or self.chance(0.6) else "when"
            tense = link != "when" and self.chance(0.35)
            words = self.join(link) + self.clause(tense)
            if (
                len(self.source) + 1 > high
                or len(french) + len(words) + 1 > longest
            ):
                del self.source[length:], self.classes[length:]
                failures += 1
                continue
            french += words
            future, free = tense, link in ("and", "but")
        french.append(self.one(".", "punctuation", "."))
        return french if low <= len(self.source) <= high else []

    def join(self, link: str) -> list[Word]:
        """The conjunction before a clause."""
        if link in ("and", "but"):
            french = "et" if link == "and" else "mais"
            return [self.comma(), self.one(link, "conjunction", french)]
        place = self.say(link, "conjunction")
        if link == "when":
            return [("quand", (place,), ())]
        return [("parce", (place,), ()), ("que", (), (place,))]


def _spell(words: list[Word]) -> list[Word]:
    """Contraction (de le: du) and elision (le ami: l' ami)."""
    result: list[Word] = []
    for position, word in enumerate(words):
        french, sure, possible = word
        if position + 1 < len(words):
            following = words[position + 1][0]
            if french in ELISION and starts_with_vowel(following):
                word = ELISION[french], sure, possible
        if result and (result[-1][0], word[0]) in CONTRACTION:
            previous = result.pop()
            word = (
                CONTRACTION[previous[0], word[0]],
                previous[1] + sure,
                previous[2] + possible,
            )
        result.append(word)
    return result


def _pair(writer: _Writer, words: list[Word]) -> SentencePair:
    sure, possible = [], []
    for target, (_, certain, maybe) in enumerate(words):
        sure += [(source, target) for source in certain]
        possible += [(source, target) for source in maybe]
    return SentencePair(
        tuple(writer.source),
        tuple(word[0] for word in words),
        frozenset(sure),
        frozenset(sure + possible),
        source_classes=tuple(writer.classes),
    )


def _clip(
    buckets: Sequence[tuple[int, int]], low: int, high: int
) -> list[tuple[int, int]]:
    clipped = [(max(a, low), min(b, high)) for a, b in buckets]
    return [(a, b) for a, b in clipped if a <= b and b >= SHORTEST]


def generate(
    num_pairs: int,
    seed: int = 0,
    min_tokens: int = SHORTEST,
    max_tokens: int = LONGEST,
    *,
    buckets: Sequence[tuple[int, int]] | None = None,
    exclude: Collection[tuple[str, ...]] = frozenset(),
) -> list[SentencePair]:
    """Generate `num_pairs` pairs, all different on the English side.

    Lengths are numbers of source tokens, the final period included, both
    bounds within. With `buckets`, the pairs take turns through these length
    ranges, so that each holds equally many; without, all lengths from
    `min_tokens` to `max_tokens` are well represented. No source sentence in
    `exclude` (a set of token tuples) is generated. Targets have at most 60
    tokens (or `max_tokens`, if that is more). The same arguments give the
    same pairs on every platform. Raises ValueError for impossible arguments
    and if there seem to be too few different sentences.
    """
    if num_pairs < 0:
        raise ValueError(f"num_pairs is {num_pairs}: expected 0 or more")
    if min_tokens > max_tokens:
        raise ValueError(
            f"min_tokens ({min_tokens}) is greater than max_tokens "
            f"({max_tokens}): swap them"
        )
    if max_tokens < SHORTEST:
        raise ValueError(
            f"max_tokens is {max_tokens}: the shortest sentences have "
            f"{SHORTEST} tokens, so give {SHORTEST} or more"
        )
    wanted = (*BUCKETS, (LONGEST + 1, max_tokens))
    if buckets is not None:
        wanted = buckets
    chosen = _clip(wanted, min_tokens, max_tokens)
    if buckets is not None and len(chosen) < max(1, len(buckets)):
        raise ValueError(
            f"buckets {tuple(buckets)} leave no length in one of them: each "
            f"must be (low, high), low <= high, and share lengths with "
            f"{max(min_tokens, SHORTEST)} to {max_tokens}"
        )
    random = Random(seed)
    writer = _Writer(random)
    longest = max(max_tokens, LONGEST)
    seen: set[tuple[str, ...]] = set()
    exclude = frozenset(exclude)
    pairs: list[SentencePair] = []
    while len(pairs) < num_pairs:
        if buckets is None:
            low, high = _draw_bucket(chosen, random.random())
        else:
            low, high = chosen[len(pairs) % len(chosen)]
        for _ in range(2000):
            words = writer.sentence(low, high, longest)
            source = tuple(writer.source)
            if words and source not in seen and source not in exclude:
                break
        else:
            raise ValueError(
                f"only {len(pairs)} of {num_pairs} different pairs found: "
                f"2000 tries gave no new sentence of {low} to {high} tokens; "
                "ask for fewer pairs or a wider range of lengths"
            )
        words = _spell(words)
        if len(words) <= longest:
            seen.add(source)
            pairs.append(_pair(writer, words))
    return pairs


def _draw_bucket(
    buckets: Sequence[tuple[int, int]], point: float
) -> tuple[int, int]:
    """The bucket at a point between 0 and 1, by its share."""
    shares = []
    for low, high in buckets:
        share = SHARES[-1]
        for (a, b), weight in zip(BUCKETS, SHARES, strict=True):
            if a <= low and high <= b:
                share = weight * (high - low + 1) / (b - max(a, SHORTEST) + 1)
        shares.append(share)
    point *= sum(shares)
    for bucket, share in zip(buckets, shares, strict=True):
        point -= share
        if point < 0:
            return bucket
    return buckets[-1]
