"""Word tables of the generated English-French corpus: no rules, only words.

Classes of nouns: p people, a animals, l places, t things, f food,
r people who are somebody's (the friend of ...), o people and places that
take a possessive (my friend, my house).
"""

from dataclasses import dataclass

# English singular, plural; French singular, plural; gender; classes
_NOUNS = """
man        men         homme       hommes       m  p
woman      women       femme       femmes       f  p
boy        boys        garçon      garçons      m  po
girl       girls       fille       filles       f  po
child      children    enfant      enfants      m  po
friend     friends     ami         amis         m  pro
neighbour  neighbours  voisin      voisins      m  pro
teacher    teachers    professeur  professeurs  m  pro
doctor     doctors     médecin     médecins     m  pro
queen      queens      reine       reines       f  p
sister     sisters     sœur        sœurs        f  pro
dog        dogs        chien       chiens       m  a
cat        cats        chat        chats        m  a
horse      horses      cheval      chevaux      m  a
bird       birds       oiseau      oiseaux      m  a
cow        cows        vache       vaches       f  a
mouse      mice        souris      souris       f  a
owl        owls        hibou       hiboux       m  a
house      houses      maison      maisons      f  lo
garden     gardens     jardin      jardins      m  lo
school     schools     école       écoles       f  lo
church     churches    église      églises      f  l
forest     forests     forêt       forêts       f  l
hotel      hotels      hôtel       hôtels       m  l
village    villages    village     villages     m  l
castle     castles     château     châteaux     m  l
book       books       livre       livres       m  t
letter     letters     lettre      lettres      f  t
hat        hats        chapeau     chapeaux     m  t
key        keys        clé         clés         f  t
umbrella   umbrellas   parapluie   parapluies   m  t
bag        bags        sac         sacs         m  t
picture    pictures    image       images       f  t
coat       coats       manteau     manteaux     m  t
apple      apples      pomme       pommes       f  f
egg        eggs        œuf         œufs         m  f
cake       cakes       gâteau      gâteaux      m  f
onion      onions      oignon      oignons      m  f
carrot     carrots     carotte     carottes     f  f
pear       pears       poire       poires       f  f
"""

# English; French masculine singular, the same before a vowel, feminine
# singular, masculine plural, feminine plural; place; classes of the nouns it
# goes with; marks: v takes "very", s a passing state (takes "often"), y not
# with "will be", - never a predicate
_ADJECTIVES = """
small        petit        petit        petite        petits        petites        before  palt   v
big          grand        grand        grande        grands        grandes        before  alt    v
old          vieux        vieil        vieille       vieux         vieilles       before  palt   v
new          nouveau      nouvel       nouvelle      nouveaux      nouvelles      before  lt     -
beautiful    beau         bel          belle         beaux         belles         before  palt   v
good         bon          bon          bonne         bons          bonnes         before  f      v
young        jeune        jeune        jeune         jeunes        jeunes         before  pa     vy
red          rouge        rouge        rouge         rouges        rouges         after   tf     .
green        vert         vert         verte         verts         vertes         after   tf     .
yellow       jaune        jaune        jaune         jaunes        jaunes         after   tf     .
black        noir         noir         noire         noirs         noires         after   at     .
white        blanc        blanc        blanche       blancs        blanches       after   alt    .
sad          triste       triste       triste        tristes       tristes        after   pa     vs
happy        heureux      heureux      heureuse      heureux       heureuses      after   pa     vs
tired        fatigué      fatigué      fatiguée      fatigués      fatiguées      after   pa     vs
intelligent  intelligent  intelligent  intelligente  intelligents  intelligentes  after   pa     v
rich         riche        riche        riche         riches        riches         after   p      v
"""  # noqa: E501

# English base, third person singular, particle; French present for je,
# il, nous, vous, ils; future stem; kind; classes of subject; of object
_VERBS = """
see     sees     -    vois    voit    voyons    voyez    voient    verr      object  pa  palt
love    loves    -    aime    aime    aimons    aimez    aiment    aimer     object  pa  palf
find    finds    -    trouve  trouve  trouvons  trouvez  trouvent  trouver   object  pa  patf
eat     eats     -    mange   mange   mangeons  mangez   mangent   manger    object  pa  f
carry   carries  -    porte   porte   portons   portez   portent   porter    object  p   tf
listen  listens  to   écoute  écoute  écoutons  écoutez  écoutent  écouter   object  pa  p
wait    waits    for  attends attend  attendons attendez attendent attendr   object  pa  p
sleep   sleeps   -    dors    dort    dormons   dormez   dorment   dormir    alone   pa  -
speak   speaks   -    parle   parle   parlons   parlez   parlent   parler    to      p   p
give    gives    -    donne   donne   donnons   donnez   donnent   donner    give    p   tf
"""  # noqa: E501

# the person: 0 je, 1 il or elle, 2 nous, 3 vous, 4 ils or elles
BE_PRESENT = ("suis", "est", "sommes", "êtes", "sont")
FUTURE_ENDINGS = ("ai", "a", "ons", "ez", "ont")

# English subject, French subject, person
SUBJECTS = (
    ("i", "je", 0),
    ("he", "il", 1),
    ("she", "elle", 1),
    ("we", "nous", 2),
    ("you", "vous", 3),
    ("they", "ils", 4),
)
OBJECTS = (("him", "le"), ("her", "la"), ("them", "les"))

# English: French masculine, feminine; then both before a vowel
SINGULAR_DETERMINERS = {
    "the": ("le", "la", "le", "la"),  # elided later: l'
    "a": ("un", "une", "un", "une"),
    "this": ("ce", "cette", "cet", "cette"),
    "my": ("mon", "ma", "mon", "mon"),
    "your": ("votre", "votre", "votre", "votre"),
    "his": ("son", "sa", "son", "son"),
    "her": ("son", "sa", "son", "son"),
    "our": ("notre", "notre", "notre", "notre"),
    "their": ("leur", "leur", "leur", "leur"),
}
PLURAL_DETERMINERS = {
    "the": "les",
    "some": "des",
    "these": "ces",
    "my": "mes",
    "your": "vos",
    "his": "ses",
    "her": "ses",
    "our": "nos",
    "their": "leurs",
    "two": "deux",
    "three": "trois",
}
ADVERBS = (
    ("often", "souvent"),
    ("always", "toujours"),
    ("sometimes", "parfois"),
)
PREPOSITIONS = {
    "in": ("dans",),
    "near": ("près", "de"),
    "behind": ("derrière",),
    "with": ("avec",),
    "of": ("de",),
    "to": ("à",),
}
# these begin with an aspirated h: le hibou, ce hibou
ASPIRATED = ("hibou", "hiboux")


@dataclass(frozen=True)
class Noun:
    """One noun: its English and French forms, gender and classes."""

    name: str
    plural: str
    french_singular: str
    french_plural: str
    feminine: bool
    classes: str


@dataclass(frozen=True)
class Adjective:
    """One adjective: its forms, its place and the nouns it goes with."""

    name: str
    masculine: str
    before_vowel: str
    feminine: str
    masculine_plural: str
    feminine_plural: str
    before: bool
    classes: str
    marks: str


@dataclass(frozen=True)
class Verb:
    """One verb: its forms, its kind, its subjects and objects."""

    name: str
    third: str
    particle: str
    present: tuple[str, ...]
    future: tuple[str, ...]
    kind: str
    subjects: str
    objects: str


def _nouns() -> tuple[Noun, ...]:
    rows = (line.split() for line in _NOUNS.strip().splitlines())
    return tuple(Noun(*r[:4], r[4] == "f", r[5]) for r in rows)


def _adjectives() -> tuple[Adjective, ...]:
    rows = (line.split() for line in _ADJECTIVES.strip().splitlines())
    return tuple(Adjective(*r[:6], r[6] == "before", *r[7:]) for r in rows)


def _verbs() -> tuple[Verb, ...]:
    rows = (line.split() for line in _VERBS.strip().splitlines())
    return tuple(
        Verb(
            *r[:2],
            r[2].strip("-"),
            tuple(r[3:8]),
            tuple(r[8] + ending for ending in FUTURE_ENDINGS),
            *r[9:],
        )
        for r in rows
    )


BE_FUTURE = tuple("ser" + ending for ending in FUTURE_ENDINGS)
BE = Verb("be", "is", "", BE_PRESENT, BE_FUTURE, "be", "", "")
NOUNS = _nouns()
ADJECTIVES = _adjectives()
VERBS = _verbs()
