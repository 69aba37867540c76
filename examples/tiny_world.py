"""The small world that the bundled model knows: about a hundred animals, people and objects, and how to ask about them.

Pure: no files, no torch. Everything follows from the word lists and one seed.
"""

import random
import zlib
from dataclasses import dataclass

WORLD_SEED = 7
RESERVED_SHARE = 8  # one text in eight is kept out of pretraining

ANIMALS = (
    "fox owl hare bear wolf cat dog horse goat duck hen frog mouse deer crow swan pig cow sheep bee snake mole toad seal "
    "crab lamb goose robin otter badger rabbit squirrel turtle donkey pony beaver"
).split()
MEN = "Ben David Felix Hugo Jonas Leo Nils Paul Sam Umar Will Adam Eric Finn".split()
WOMEN = "Anna Carla Emma Greta Ida Kira Mara Olga Rosa Tina Vera Yara Zoe Bella Clara Dora".split()
THINGS = (
    "lamp key drum kite boat book bell clock chair rope basket ladder hat coat ring spoon cup bowl plate brush map coin box "
    "candle mirror pillow blanket bucket broom saw hammer wagon sled flute harp trumpet"
).split()
COLOURS = "red blue green white black brown grey yellow pink orange".split()
JOBS = "baker teacher farmer painter sailor doctor tailor miller gardener cook nurse singer".split()
PLACES = (
    "in the barn|in the garden|by the river|under the bridge|on the hill|near the mill|behind the church|in the forest|"
    "at the harbour|in the tower|by the lake|on the island|in the cellar|near the school|behind the stable|under the oak|"
    "in the valley|by the well|at the market|in the kitchen"
).split("|")
ADJECTIVES = "old new big small heavy light shiny broken wooden tiny warm round long pretty".split() + COLOURS
VERBS = {
    "paints": "paint", "hides": "hide", "carries": "carry", "cleans": "clean", "repairs": "repair", "watches": "watch",
    "finds": "find", "sells": "sell", "polishes": "polish", "guards": "guard", "brings": "bring", "lifts": "lift",
    "loves": "love", "wants": "want", "draws": "draw", "keeps": "keep", "drops": "drop", "moves": "move",
    "holds": "hold", "counts": "count", "likes": "like", "needs": "need",
}  # fmt: skip

QUESTIONS = {
    "colour": (
        "What colour is {x}?", "What color is {x}?", "Which colour does {x} have?", "What is the colour of {x}?",
        "Tell me the colour of {x}.", "Do you know the colour of {x}?",
    ),
    "job": (
        "What is the job of {x}?", "Which job does {x} have?", "What does {x} work as?", "Tell me the job of {x}.",
        "Do you know the job of {x}?",
    ),
    "home": (
        "Where does {x} live?", "Where is {x}?", "Where is the home of {x}?", "Where can I find {x}?", "In which place does {x} live?",
        "Tell me where {x} lives.", "Do you know where {x} lives?",
    ),
    "spot": (
        "Where is {x}?", "Where can I find {x}?", "Where should I look for {x}?", "In which place is {x}?",
        "Tell me where {x} is.", "Do you know where {x} is?",
    ),
    "habit": (
        "What does {x} do?", "What does {x} do every day?", "What is the habit of {x}?", "How does {x} spend the day?",
        "Tell me what {x} does.", "Do you know what {x} does?",
    ),
    "friend": (
        "Who is the friend of {x}?", "Which friend does {x} have?", "Who is a good friend of {x}?",
        "Tell me the friend of {x}.", "Do you know the friend of {x}?",
    ),
    "owner": (
        "Who owns {x}?", "Who is the owner of {x}?", "To whom does {x} belong?", "Tell me who owns {x}.",
        "Do you know who owns {x}?",
    ),
    "about": ("Tell me about {x}.", "What do you know about {x}?", "Who or what is {x}?", "Describe {x}."),
}  # fmt: skip
FOLLOW_UPS = {
    "colour": ("What colour is {they}?", "And what colour is {they}?", "Which colour does {they} have?"),
    "job": ("What is {their} job?", "And what is {their} job?", "Which job does {they} have?"),
    "home": ("Where does {they} live?", "And where does {they} live?", "Where can I find {them}?"),
    "spot": ("Where is {they}?", "And where is {they}?", "Where can I find {them}?"),
    "habit": ("What does {they} do?", "And what does {they} do?", "What is {their} habit?"),
    "friend": ("Who is {their} friend?", "And who is {their} friend?", "Which friend does {they} have?"),
    "owner": ("Who owns {them}?", "And who owns {them}?", "To whom does {they} belong?"),
}
STATEMENTS = {
    "colour": "{x} is {colour}.", "job": "{x} is a {job}.", "home": "{x} lives {home}.", "spot": "{x} is {spot}.",
    "habit": "{x} {habit}.", "friend": "The friend of {x} is {friend}.", "owner": "{owner} owns {x}.",
}  # fmt: skip
ABOUT = {
    "animal": "{x} is {colour} and lives {home}.",
    "person": "{x} is a {job} and lives {home}.",
    "thing": "{x} is {colour} and belongs to {owner}.",
}
ATTRIBUTES = {
    "animal": ("colour", "home", "habit", "friend"),
    "person": ("job", "home", "habit", "friend"),
    "thing": ("colour", "spot", "owner"),
}
PRONOUNS = {
    "it": {"they": "it", "them": "it", "their": "its"},
    "he": {"they": "he", "them": "him", "their": "his"},
    "she": {"they": "she", "them": "her", "their": "her"},
}


@dataclass(frozen=True)
class Entity:
    """One inhabitant: `name` as inside a sentence ("the fox", "Anna"), `facts` from attribute to value."""

    name: str
    kind: str
    pronoun: str
    facts: dict[str, str]


@dataclass(frozen=True)
class Sentence:
    """Somebody does something to something, perhaps somewhere; it need not be true in the world."""

    subject: str
    verb: str
    object: str
    place: str = ""


def sentence_case(text: str) -> str:
    return text[:1].upper() + text[1:]


def reserved(text: str) -> bool:
    """Whether this text is kept out of pretraining, for held-out lists and the Yoda rows; case and punctuation ignored."""
    letters = "".join(c for c in text.lower() if c.isalnum())
    return zlib.crc32(letters.encode()) % RESERVED_SHARE == 0


def build_world(seed: int = WORLD_SEED) -> list[Entity]:
    rng = random.Random(seed)
    beings = [("the " + a, "animal", "it") for a in ANIMALS]
    beings += [(m, "person", "he") for m in MEN] + [(w, "person", "she") for w in WOMEN]
    names = [name for name, _, _ in beings]
    habits = rng.sample([f"{verb} the {thing}" for verb in VERBS for thing in THINGS], len(beings))
    entities = []
    for (name, kind, pronoun), habit in zip(beings, habits, strict=True):
        trade = {"colour": rng.choice(COLOURS)} if kind == "animal" else {"job": rng.choice(JOBS)}
        friend = rng.choice([other for other in names if other != name])
        facts = {**trade, "home": rng.choice(PLACES), "habit": habit, "friend": friend}
        entities.append(Entity(name, kind, pronoun, facts))
    for thing in THINGS:
        facts = {"colour": rng.choice(COLOURS), "spot": rng.choice(PLACES), "owner": rng.choice(names)}
        entities.append(Entity("the " + thing, "thing", "it", facts))
    return entities


def statement(entity: Entity, attribute: str) -> str:
    """The full answer to a question about one attribute ("about" joins two)."""
    form = ABOUT[entity.kind] if attribute == "about" else STATEMENTS[attribute]
    return sentence_case(form.format(x=entity.name, **entity.facts))


def one_word(entity: Entity, attribute: str) -> str:
    return sentence_case(entity.facts[attribute].split()[-1]) + "."


def questions(entity: Entity, attribute: str) -> list[str]:
    """Every phrasing of one question, reserved ones included."""
    return [form.format(x=entity.name) for form in QUESTIONS[attribute]]


def follow_ups(entity: Entity, attribute: str) -> list[tuple[str, str]]:
    """(question that says "it", the text that decides whether it is reserved)."""
    return [(form.format(**PRONOUNS[entity.pronoun]), f"{form} {entity.name}") for form in FOLLOW_UPS[attribute]]


def claim(rng: random.Random, entities: list[Entity]) -> str:
    """A statement of the right kind about somebody, hardly ever true."""
    entity = rng.choice(entities)
    attribute = rng.choice(ATTRIBUTES[entity.kind])
    value = rng.choice([other.facts[attribute] for other in entities if attribute in other.facts])
    return sentence_case(STATEMENTS[attribute].format(**{"x": entity.name, attribute: value}))


def random_sentence(rng: random.Random, place_share: float = 0.5) -> Sentence:
    """Somebody, a deed, an object and perhaps a place, adjectives on about half of the nouns; or somebody is something."""

    def noun_phrase(nouns: list[str]) -> str:
        adjective = rng.choice(ADJECTIVES) + " " if rng.random() < 0.5 else ""
        return f"the {adjective}{rng.choice(nouns)}"

    subject = rng.choice(MEN + WOMEN) if rng.random() < 0.4 else noun_phrase(ANIMALS)
    if place_share < 1 and rng.random() < 0.1:
        return Sentence(subject, "is", rng.choice(ADJECTIVES))
    place = rng.choice(PLACES) if rng.random() < place_share else ""
    thing = noun_phrase(THINGS) if rng.random() < 0.8 else rng.choice([noun_phrase(ANIMALS), rng.choice(MEN + WOMEN)])
    return Sentence(subject, rng.choice(list(VERBS)), thing, place)


def plain(s: Sentence) -> str:
    return sentence_case(" ".join(filter(None, (s.subject, s.verb, s.object, s.place)))) + "."


def object_first(s: Sentence) -> str:
    return sentence_case(" ".join(filter(None, (s.object + ",", s.subject, s.verb, s.place)))) + "."


def place_first(s: Sentence) -> str:
    return sentence_case(f"{s.place}, {s.subject} {s.verb} {s.object}.")


def as_question(s: Sentence) -> str:
    if s.verb == "is":
        return f"Is {s.subject} {s.object}?"
    return " ".join(filter(None, ("Does", s.subject, VERBS[s.verb], s.object, s.place))) + "?"


def doer(s: Sentence) -> str:
    return sentence_case(s.subject) + "."
