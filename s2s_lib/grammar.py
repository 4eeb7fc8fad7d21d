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
from typing import NamedTuple

from s2s_lib import lexicon
from s2s_lib.lexicon import ADJECTIVES, NOUNS, VERBS, Adjective, Noun, Verb
from s2s_lib.vocab import detokenize

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
Words = list[Word]


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
        return self.source_text or detokenize(self.source)

    @property
    def target_sentence(self) -> str:
        """The raw target text, or the joined tokens where there is none."""
        return self.target_text or detokenize(self.target)


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
VERBS_OF = _suiting(VERBS, "subjects")
VERBS_FOR = _suiting([v for v in VERBS if v.kind == "object"], "objects")
# The places that a noun or an action may be in, and other phrases of nouns:
# a preposition and the classes of the noun after it.
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


class Subject(NamedTuple):
    """What a verb must know of its subject; class as in the lexicon."""

    person: int
    feminine: bool
    kind: str


class NounPhrase(NamedTuple):
    """A noun phrase; `extended`: it ends in a phrase or clause of its own."""

    words: Words
    subject: Subject
    noun: Noun
    determiner: str
    extended: bool = False


def _agree(adjective: Adjective, feminine: bool, plural: bool) -> str:
    if plural and feminine:
        return adjective.feminine_plural
    if plural:
        return adjective.masculine_plural
    return adjective.feminine if feminine else adjective.masculine


class _Writer:
    """Writes one sentence: each rule appends its English words to `source`
    and returns its French ones.

    `depth` is 1 where a noun may have a relative clause or a prepositional
    phrase, else 0; `barred` names determiners that must not be used.
    """

    def __init__(self, random: Random) -> None:
        self.random = random.random
        self.start(0.5)

    def start(self, richness: float) -> None:
        self.source: list[str] = []
        self.classes: list[str] = []
        self.recent: list[str] = []
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
    ) -> NounPhrase:
        """Determiner, adjectives and noun.

        `negated`: the direct object of a negated verb, where un becomes de.
        """
        noun = self.fresh(NOUNS_OF[self.pick(kinds)])
        plural = self.chance(0.35)
        if negated:
            barred += " some two three"
        determiner = self.determiner(noun, plural, barred)
        fitting = ADJECTIVES_OF[noun.classes[0]]
        adjectives: list[Adjective] = []
        if self.chance(0.25 + 0.4 * self.richness):
            adjectives.append(self.fresh(fitting))
            if adjectives[0].before and self.chance(0.3):
                second = self.fresh(fitting)
                if not second.before:  # le petit sac rouge
                    adjectives.append(second)
        english, french = noun.name, noun.french_singular
        if plural:
            english, french = noun.plural, noun.french_plural
        following = adjectives[0].name if adjectives else english
        an = determiner == "a" and following[0] in "aeiou"
        place = self.say("an" if an else determiner, "determiner")
        before, after = [], []
        for adjective in adjectives:
            form = _agree(adjective, noun.feminine, plural)
            masculine = not noun.feminine and not plural
            if adjective.before and masculine and starts_with_vowel(french):
                form = adjective.before_vowel  # un vieil ami
            word = self.one(adjective.name, "adjective", form)
            (before if adjective.before else after).append(word)
        head = self.one(english, "noun", french)
        if negated and determiner == "a":
            form = "de"  # il ne voit pas de chien
        elif determiner == "some" and before:
            form = "de"  # de petits chiens
        elif plural:
            form = lexicon.PLURAL_DETERMINERS[determiner]
        else:
            # cet ami, ce vieil ami; mon image, ma belle image
            vowel = starts_with_vowel(before[0][0] if before else french)
            forms = lexicon.SINGULAR_DETERMINERS[determiner]
            form = forms[2 * vowel + noun.feminine]
        words = [(form, (place,), ()), *before, head, *after]
        subject = Subject(4 if plural else 1, noun.feminine, noun.classes[0])
        return NounPhrase(words, subject, noun, determiner)

    def prepositional(self, word: str, kinds: str, depth: int = 0) -> Words:
        """A preposition and a noun phrase, perhaps with a relative clause."""
        first, *rest = lexicon.PREPOSITIONS[word]
        place = self.say(word, "preposition")
        words = [(first, (place,), ()), *((de, (), (place,)) for de in rest)]
        # de and des would be de: no indefinite plural after de
        phrase = self.core(kinds, "some" if "de" in (first, *rest) else "")
        words += phrase.words
        if depth and self.chance(0.3 * self.richness):
            words += self.relative(phrase.subject)
        return words

    def noun_phrase(
        self, kinds: str, depth: int, barred: str = "", negated: bool = False
    ) -> NounPhrase:
        """A noun with a relative clause, a prepositional phrase or none."""
        phrase = self.core(kinds, barred, negated)
        determiner, classes = phrase.determiner, phrase.noun.classes
        more: Words = []
        if not depth or (negated and determiner == "a"):
            return phrase
        if self.chance(0.4 * self.richness):
            more = self.relative(phrase.subject)
        elif self.chance(0.3 * self.richness):
            choices = NOUN_PHRASES.get(classes[0], ())
            # the friend of the queen, but not my friend of the queen
            if determiner in ("the", "a", "some"):
                choices += OWNERS.get(classes[:2], ())
            if choices:
                more = self.prepositional(*self.pick(choices), depth)
        return phrase._replace(words=phrase.words + more, extended=bool(more))

    def coordinated(
        self, kinds: str, depth: int, barred: str = ""
    ) -> NounPhrase:
        """One noun phrase, or two joined by and."""
        if not self.chance(0.2 * self.richness):
            return self.noun_phrase(kinds, depth, barred)
        first = self.core(kinds, barred)
        et = self.one("and", "conjunction", "et")
        kind = first.subject.kind
        second = self.noun_phrase(kind, depth, barred)
        # masculine as soon as one of the nouns is
        feminine = first.noun.feminine and second.noun.feminine
        return second._replace(
            words=[*first.words, et, *second.words],
            subject=Subject(4, feminine, kind),
        )

    def relative(self, subject: Subject) -> Words:
        """A clause with who, that (subject): qui, or that (object): que."""
        kind = subject.kind
        future = self.chance(0.2)
        wanted = VERBS_FOR[kind]
        if wanted and (kind not in "pa" or self.chance(0.45)):
            verb = self.fresh(wanted)
            que = self.one("that", "pronoun", "que")
            french, subject = self.subject(verb.subjects, 0)
            words = self.verb_phrase(verb, subject, future, 0, gap=True)
            return [que, *french, *words]
        pronoun = "who" if kind == "p" else "that"
        qui = self.one(pronoun, "pronoun", "qui")
        return [qui, *self.predicate(subject, future, 0)]

    # Verb phrases

    def subject(self, kinds: str, depth: int) -> tuple[Words, Subject]:
        """A pronoun or a noun phrase."""
        if "p" in kinds and self.chance(0.35):
            english, french, person = self.pick(lexicon.SUBJECTS)
            word = self.one(english, "pronoun", french)
            return [word], Subject(person, english == "she", "p")
        rule = self.coordinated if depth else self.noun_phrase
        phrase = rule(kinds, depth)
        return phrase.words, phrase.subject

    def predicate(self, subject: Subject, future: bool, depth: int) -> Words:
        verbs = VERBS_OF[subject.kind]
        if not verbs or self.chance(0.2):
            return self.copula(subject, future)
        return self.verb_phrase(self.fresh(verbs), subject, future, depth)

    def verbal_group(
        self, verb: Verb, subject: Subject, future: bool, adverbs: bool
    ) -> tuple[Words, Words, bool]:
        """The verb with will, do, not, never and adverb.

        Returns the French before the verb (ne), the verb and what follows
        it (pas, adverb), and if the verb is negated.
        """
        copula = verb is lexicon.BE
        third = subject.person == 1
        form = verb.third if third else verb.name
        if copula and not third:
            form = "are" if subject.person else "am"
        point = self.random()
        negation = "not" if point < 0.2 else ""
        if adverbs and 0.2 <= point < 0.25:
            negation = "never"
        does = negation == "not" and not future and not copula
        helpers: tuple[int, ...] = ()
        place = -1
        if future:
            helpers = (self.say("will", "auxiliary"),)
        elif does:
            helpers = (self.say("does" if third else "do", "auxiliary"),)
        elif copula:  # is not, is never, is often: the verb comes first
            place = self.say(form, "verb")
        ne: Words = []
        after: Words = []
        if negation:
            link = self.say(negation, "negation")
            also = helpers if does else ()
            ne = [("ne", (), (link, *also))]
            pas = "pas" if negation == "not" else "jamais"
            after.append((pas, (link,), also))
        if adverbs and negation != "never" and self.chance(0.2):
            # no "not sometimes"; the French adverb follows the verb
            english, french = self.pick(lexicon.ADVERBS[: 3 - bool(negation)])
            after.append(self.one(english, "adverb", french))
        if place < 0:
            place = self.say(verb.name if helpers else form, "verb")
        if verb.particle:  # listen to, wait for: one word in French
            helpers += (self.say(verb.particle, "preposition"),)
        french = (verb.future if future else verb.present)[subject.person]
        return ne, [(french, (place,), helpers), *after], bool(negation)

    def copula(self, subject: Subject, future: bool) -> Words:
        """is, are, will be and an adjective that agrees."""
        barred = "-y" if future else "-"  # no "will be young"
        while True:
            adjective = self.fresh(ADJECTIVES_OF[subject.kind])
            if not any(mark in adjective.marks for mark in barred):
                break
        adverbs = "s" in adjective.marks
        group = self.verbal_group(lexicon.BE, subject, future, adverbs)
        words = group[0] + group[1]
        if "v" in adjective.marks and self.chance(0.25):
            words.append(self.one("very", "adverb", "très"))
        plural = subject.person > 1
        form = _agree(adjective, subject.feminine, plural)
        return [*words, self.one(adjective.name, "adjective", form)]

    def verb_phrase(
        self,
        verb: Verb,
        subject: Subject,
        future: bool,
        depth: int,
        gap: bool = False,
    ) -> Words:
        """A verb and its complements; `gap`: its object is que."""
        ne, words, negated = self.verbal_group(verb, subject, future, True)
        if gap:
            return ne + words
        if verb.kind == "give":
            words += self.core(verb.objects, "", negated).words
        if verb.kind in ("give", "to"):
            words += self.prepositional("to", "p", depth)
        elif verb.kind == "object" and self.chance(0.25):
            # him, her: people; them: anything
            start = 0 if "p" in verb.objects else 2
            english, french = self.pick(lexicon.OBJECTS[start:])
            # before the verb, after ne: je ne le vois pas
            ne.append(self.one(english, "pronoun", french))
        elif verb.kind == "object":
            # aimer takes no un, des
            barred = "a some" if verb.name == "love" else ""
            if negated:
                phrase = self.noun_phrase(verb.objects, depth, barred, True)
            else:
                phrase = self.coordinated(verb.objects, depth, barred)
            words += phrase.words
            if phrase.extended:
                return ne + words
        if depth and self.chance(0.3 * self.richness):
            words += self.prepositional(*self.pick(PLACES), depth)
        return ne + words

    # Clauses

    def clause(self, future: bool) -> Words:
        """Subject and predicate, or two predicates with one subject."""
        kinds = "ppaalt" if self.chance(0.2) else "ppa"
        words, subject = self.subject(kinds, 1)
        start = len(self.source)
        words += self.predicate(subject, future, 1)
        relative = {"who", "that"}.intersection(self.source[start:])
        # After a relative clause the second predicate could be read as a
        # part of it; je would have to be repeated.
        if (
            not relative
            and subject.person
            and subject.kind in "pa"
            and self.chance(0.2 * self.richness)
        ):
            english, french = self.pick((("and", "et"), ("but", "mais")))
            words.append(self.one(english, "conjunction", french))
            words += self.predicate(subject, future, 1)
        return words

    def comma(self) -> Word:
        return self.one(",", "punctuation", ",")

    def join(self, link: str) -> Words:
        """The conjunction before a clause."""
        if link in ("and", "but"):
            french = "et" if link == "and" else "mais"
            return [self.comma(), self.one(link, "conjunction", french)]
        place = self.say(link, "conjunction")
        if link == "when":
            return [("quand", (place,), ())]
        return [("parce", (place,), ()), ("que", (), (place,))]

    def sentence(self, low: int, high: int, longest: int) -> Words:
        """Clauses, joined until the sentence has low to high tokens.

        Returns an empty list if it did not come out so. `longest` bounds
        the French.
        """
        goal = low + int(self.random() * (high - low + 1))
        self.start(0.2 if goal <= 10 else 0.3 + 0.6 * self.random())
        french: Words = []
        # free: a clause with because or when may follow
        future, free, failures = False, True, 0
        if goal > 12 and self.chance(0.15):
            french = [*self.join("when"), *self.clause(False), self.comma()]
            french += self.clause(False)
        else:
            future = self.chance(0.35)
            french = self.clause(future)
        while len(self.source) + 1 < goal and failures < 4:
            length = len(self.source)
            link = "and" if self.chance(0.7) else "but"
            if free and self.chance(0.4):
                # when joins two presents: French would have a future
                link = "because" if future or self.chance(0.6) else "when"
            tense = link != "when" and self.chance(0.35)
            words = self.join(link) + self.clause(tense)
            too_long = len(french) + len(words) + 1 > longest
            if too_long or len(self.source) + 1 > high:
                del self.source[length:], self.classes[length:]
                failures += 1
                continue
            french += words
            future, free = tense, link in ("and", "but")
        french.append(self.one(".", "punctuation", "."))
        return french if low <= len(self.source) <= high else []


def _spell(words: Words) -> Words:
    """Contraction (de le: du) and elision (le ami: l' ami)."""
    result: Words = []
    for position, word in enumerate(words):
        french, sure, possible = word
        if french in ELISION and starts_with_vowel(words[position + 1][0]):
            word = ELISION[french], sure, possible
        if result and (result[-1][0], word[0]) in CONTRACTION:
            de, its_sure, its_possible = result.pop()
            contracted = CONTRACTION[de, word[0]]
            word = contracted, its_sure + sure, its_possible + possible
        result.append(word)
    return result


def _pair(writer: _Writer, words: Words) -> SentencePair:
    sure, possible = [], []
    for target, (_, certain, maybe) in enumerate(words):
        for source in certain:
            sure.append((source, target))
        for source in maybe:
            possible.append((source, target))
    return SentencePair(
        tuple(writer.source),
        tuple([word[0] for word in words]),
        frozenset(sure),
        frozenset(sure + possible),
        source_classes=tuple(writer.classes),
    )


def _clip(
    buckets: Sequence[tuple[int, int]], low: int, high: int
) -> list[tuple[int, int]]:
    clipped = [(max(a, low), min(b, high)) for a, b in buckets]
    return [(a, b) for a, b in clipped if a <= b and b >= SHORTEST]


def _share(low: int, high: int) -> float:
    """The part of all sentences that a (clipped) length bucket gets."""
    for (first, last), share in zip(BUCKETS, SHARES, strict=True):
        if first <= low and high <= last:
            lengths = last - max(first, SHORTEST) + 1
            return share * (high - low + 1) / lengths
    return SHARES[-1]


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
    shares = [_share(low, high) for low, high in chosen]
    longest = max(max_tokens, LONGEST)
    seen: set[tuple[str, ...]] = set()
    exclude = frozenset(exclude)
    pairs: list[SentencePair] = []
    while len(pairs) < num_pairs:
        if buckets is None:
            point = random.random() * sum(shares)
            which = 0
            while which < len(chosen) - 1 and point >= shares[which]:
                point -= shares[which]
                which += 1
            low, high = chosen[which]
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
