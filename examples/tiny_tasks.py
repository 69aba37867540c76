"""Conversations about the small world: what the bundled model is trained on, and the held-out list it is judged by.

Pure: no files, no torch. A conversation is a list of messages that ends with the assistant's answer.
"""

import random
import string
from collections.abc import Callable

from examples import tiny_world as world
from examples.tiny_world import Entity, Sentence

Message = dict[str, str]
Conversation = list[Message]
Pair = tuple[str, str]  # what the user says, what the assistant answers

UNKNOWN = "Sorry, I do not know."
CANNOT = "Sorry, I cannot do that."
CAPITALS = (
    "Answer in capitals.", "Answer in capital letters.", "Use capital letters only.", "Write everything in capitals.",
    "Please answer in capitals.",
)  # fmt: skip
ONE_WORD = ("Answer in one word.", "Answer with one word.", "Use only one word.", "One word answers only.")
NO_MATTER = ("You are a helpful assistant.", "You are a friendly guide.", "Be polite.", "You are Tiny Chat.")
OBJECT_FIRST_SYSTEM = (
    "Put the object first.",
    "Always start with the object.",
    "Say everything with the object first.",
)
SAY = ("Say this: {s}", "Say: {s}", "Repeat this: {s}", "Repeat after me: {s}", "Please say this: {s}", "Repeat: {s}")
REWRITES: dict[str, tuple[tuple[str, ...], Callable[[Sentence], str]]] = {
    "object": (
        ("Object first: {s}", "Put the object first: {s}", "Say this with the object first: {s}",
         "Start with the object: {s}", "Say this, object first: {s}"),
        world.object_first,
    ),
    "place": (
        ("Place first: {s}", "Put the place first: {s}", "Say this with the place first: {s}", "Start with the place: {s}"),
        world.place_first,
    ),
    "question": (
        ("Make it a question: {s}", "Turn this into a question: {s}", "Say this as a question: {s}", "Ask this: {s}"),
        world.as_question,
    ),
    "doer": (("Who does it? {s}", "Who is doing this? {s}", "Say who does it: {s}"), world.doer),
}  # fmt: skip
HELLO = "Hello! Ask me about the fox, Anna, the lamp or others in my small world."
WHO = "I am Tiny Chat, a very small language model."
MAKERS = "I was made for this project, from nothing but a small program."
CAN = "I answer questions about my small world, and I repeat or rewrite sentences."
KNOW = "I know animals like the fox, people like Anna and things like the lamp."
GO_ON = "What would you like to know?"
SMALL_TALK = {
    "Hello!": HELLO, "Hello.": HELLO, "Hi!": HELLO, "Hi there!": HELLO, "Hey!": HELLO, "Good morning!": HELLO,
    "Good evening!": HELLO, "Hello, how are you?": "I am fine, thank you.", "How are you?": "I am fine, thank you.",
    "How are you doing?": "I am fine, thank you.", "Who are you?": WHO, "What are you?": WHO, "What is your name?": WHO,
    "Tell me about yourself.": WHO, "Who made you?": MAKERS, "Where do you come from?": MAKERS, "Are you a robot?": WHO, "What can you do?": CAN, "What do you know?": CAN, "Help!": CAN,
    "What can I ask you?": CAN, "How can you help me?": CAN,
    "Who do you know?": KNOW, "What animals do you know?": KNOW, "Which people do you know?": KNOW, "What is in your world?": KNOW,
    "Tell me about your world.": KNOW, "What things do you know?": KNOW, "Yes.": GO_ON, "No.": GO_ON, "OK.": GO_ON, "Thank you!": "You are welcome.", "Thanks!": "You are welcome.",
    "Thank you very much!": "You are welcome.", "Thanks a lot!": "You are welcome.", "Goodbye!": "Goodbye!", "Bye!": "Goodbye!",
    "See you!": "Goodbye!", "Good night!": "Goodbye!",
}  # fmt: skip
WORDS = (
    "zebra tiger lion shark eagle monkey camel whale parrot panda ant spider kangaroo wizard king queen pirate robot dragon "
    "ghost train plane car bicycle bus phone computer guitar piano violin table door window house castle hotel city street "
    "mountain ocean desert planet moon star sun rain snow wind storm bread cheese apple banana pizza soup cake sugar salt water "
    "coffee tea milk gold silver iron glass paper stone sand fire music film game story poem song dance sport football chess "
    "money bank price law school science history physics number letter word language dream love war peace time year week "
    "summer winter doctor engine energy internet virus heart brain blood tooth shoe shirt dress garden flower tree leaf grass"
).split()
EVERYDAY = (
    "I you we they my your our this that is are was were have has had go went see saw eat make take give want like love need "
    "know think very much many some all not and or but with from into to of on at today tomorrow yesterday now here there "
    "always never good bad nice new happy sad tired big little first last please hello friend name family work school day night"
).split()
NAMES = (
    "Oscar Peter Maria Lucas Nina Oliver Sofia Marco Elena Thomas Julia Victor Laura Martin Eva Simon Helen Robert Alice Tom "
    "Napoleon Einstein Shakespeare Mozart Batman Cleopatra"
).split()
LANDS = (
    "France Spain Italy Japan China India Brazil Kenya Egypt Canada Germany Poland Norway Peru Turkey Russia".split()
)
OFF_TOPIC = (
    "What is the capital of {land}?", "How many people live in {land}?", "Who is the president of {land}?",
    "Where is {land}?", "What language do they speak in {land}?", "What is the {word} of {land}?", "What is a {word}?",
    "What is {word}?", "Who invented the {word}?", "How does a {word} work?", "How do I make a {word}?", "Why is the {word} {word}?",
    "How much does a {word} cost?", "Where can I buy a {word}?", "When was the {word} invented?", "Do you like {word}?",
    "What is the meaning of {word}?", "What is your favourite {word}?", "Who wrote the {word} of {name}?", "Who is {name}?",
    "When was {name} born?", "Why did {name} go to {land}?", "Is {name} in {land}?", "What is the best {word} in {land}?",
    "How old is {name}?", "What colour is the {word}?", "Where is the {word}?", "Who owns the {word}?", "Where does {name} live?",
    "What does {name} do?", "Who is the friend of {name}?", "What is the job of {name}?", "Where does the {word} live?",
    "What does the {word} do?", "Tell me about {name}.", "Tell me about the {word}.", "Tell me the colour of the {word}.",
    "What is {digit} plus {digit}?", "What is {digit} + {digit}?", "How many {word}s are there?", "What time is it?",
    "What day is it today?", "How is the weather today?", "Will it rain in {land}?", "Can you eat {word}?", "{word} {word} {word}",
    "{word}?", "Why?", "Which {word} is the biggest?", "Is the {word} bigger than the {word}?", "What happened in {year}?",
    "How old is {known}?", "How tall is {known}?", "How much does {known} cost?", "What does {known} eat?",
    "When was {known} born?", "Does {known} like {word}?", "Who lives {place}?", "Why is {known} sad?", "I like {word}.", "My {word} is broken.",
)  # fmt: skip
REQUESTS = (
    "Write a {word} about {word}.", "Write a poem about {word}.", "Tell me a story about {name}.", "Sing a {word}.",
    "Translate {word} into the language of {land}.", "Draw a {word}.", "Write a program.", "Buy me a {word}.",
    "Play some {word}.", "Tell me a joke.", "Give me a recipe for {word}.", "Book a trip to {land}.",
)  # fmt: skip


def careless(text: str, rng: random.Random) -> str:
    """The same text as people type it: sometimes in lower case, sometimes without the final mark."""
    if rng.random() < 0.25:
        text = text.lower()
    return text.rstrip(".?!") if rng.random() < 0.25 else text


def fill(form: str, rng: random.Random, entities: list[Entity]) -> str:
    """A form with each {word}, {name}, ... replaced."""
    pools = {"word": WORDS, "name": NAMES, "land": LANDS, "digit": [str(n) for n in range(13)],
             "place": world.PLACES, "known": [e.name for e in entities], "year": [str(y) for y in range(1900, 2031)]}  # fmt: skip
    for slot, pool in pools.items():
        while "{" + slot + "}" in form:
            form = form.replace("{" + slot + "}", rng.choice(pool), 1)
    return world.sentence_case(form)


def allowed(make: Callable[[], str], keep_reserved: bool) -> str:
    """The first text from `make` on the wanted side of the split."""
    while world.reserved(text := make()) != keep_reserved:
        pass
    return text


def allowed_sentence(rng: random.Random, keep_reserved: bool, place_share: float = 0.5) -> Sentence:
    while world.reserved(world.plain(s := world.random_sentence(rng, place_share))) != keep_reserved:
        pass
    return s


def unknown_pair(rng: random.Random, entities: list[Entity], keep_reserved: bool = False) -> Pair:
    """An off-topic question or request, and the polite refusal."""
    forms, answer = (REQUESTS, CANNOT) if rng.random() < 0.15 else (OFF_TOPIC, UNKNOWN)
    varied = [form for form in forms if "{" in form]
    return allowed(lambda: fill(rng.choice(varied if keep_reserved else forms), rng, entities), keep_reserved), answer


def question_pairs(entity: Entity, keep_reserved: bool = False) -> list[tuple[str, str, str]]:
    """(attribute, question, answer) for every phrasing on the wanted side of the split."""
    attributes = (*world.ATTRIBUTES[entity.kind], "about")
    return [
        (attribute, question, world.statement(entity, attribute))
        for attribute in attributes
        for question in world.questions(entity, attribute)
        if world.reserved(question) == keep_reserved
    ]


def yes_no_pair(rng: random.Random, entity: Entity, entities: list[Entity]) -> Pair:
    """ "Is the fox red?" with the truth in the answer either way."""
    attribute = rng.choice(("colour", "spot") if entity.kind == "thing" else tuple(entity.facts)[:2])
    value = entity.facts[attribute]
    if rng.random() < 0.5:
        value = rng.choice([e.facts[attribute] for e in entities if attribute in e.facts])
    verb, joint = ("Does", " live ") if attribute == "home" else ("Is", " a " if attribute == "job" else " ")
    truth = world.STATEMENTS[attribute].format(x=entity.name, **entity.facts)
    return f"{verb} {entity.name}{joint}{value}?", ("Yes, " if value == entity.facts[attribute] else "No, ") + truth


def doer_pair(entity: Entity) -> Pair:
    return f"Who {entity.facts['habit']}?", world.statement(entity, "habit")


def absent_pair(rng: random.Random, entities: list[Entity]) -> Pair:
    """A question about something that an entity does not have: the job of the fox, the colour of Anna."""
    entity = rng.choice(entities)
    absent = [a for a in ("colour", "job", "friend", "owner", "habit") if a not in entity.facts]
    return rng.choice(world.questions(entity, rng.choice(absent))), UNKNOWN


def say_text(rng: random.Random, entities: list[Entity]) -> str:
    """Something to repeat: sentences of the world's words, claims against its facts, everyday words, mere letters."""
    kind = rng.random()
    if kind < 0.5:
        return world.plain(allowed_sentence(rng, keep_reserved=False))
    if kind < 0.7:
        return world.claim(rng, entities)
    if kind < 0.92:
        words = rng.choices(EVERYDAY * 2 + WORDS + NAMES + world.THINGS, k=rng.randint(1, 7))
    else:
        words = ["".join(rng.choices(string.ascii_lowercase, k=rng.randint(2, 6))) for _ in range(rng.randint(1, 3))]
    return world.sentence_case(" ".join(words)) + "."


def say_pair(rng: random.Random, text: str) -> Pair:
    """A request to repeat, at times carelessly typed; the answer is always the whole sentence."""
    form = rng.choice(SAY)
    typed = text.rstrip(".") if rng.random() < 0.15 else text
    typed = typed[:1].lower() + typed[1:] if rng.random() < 0.2 else typed
    return (form.lower() if rng.random() < 0.15 else form).format(s=typed), text


def rewrite_pair(rng: random.Random, kind: str, keep_reserved: bool = False) -> Pair:
    forms, rewrite = REWRITES[kind]
    sentence = allowed_sentence(rng, keep_reserved, place_share=1.0 if kind == "place" else 0.5)
    return rng.choice(forms).format(s=world.plain(sentence)), rewrite(sentence)


def chat(pairs: list[Pair], system: str = "") -> Conversation:
    messages = [{"role": "system", "content": system}] if system else []
    for user, assistant in pairs:
        messages += [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]
    return messages


def fact_turns(rng: random.Random, entities: list[Entity]) -> tuple[list[Pair], list[str]]:
    """One to three questions (the later ones may say "it"), and the one-word answers where every turn has one."""
    entity = rng.choice(entities)
    attribute, question, answer = rng.choice(question_pairs(entity))
    pairs, words = [(question, answer)], []
    asked = [(entity, attribute)]
    while rng.random() < 0.35 and len(pairs) < 3:
        if rng.random() < 0.6:
            attribute = rng.choice(world.ATTRIBUTES[entity.kind])
            options = [q for q, key in world.follow_ups(entity, attribute) if not world.reserved(key)]
            if not options:
                continue
            question, answer = rng.choice(options), world.statement(entity, attribute)
        else:
            entity = rng.choice(entities)
            attribute, question, answer = rng.choice(question_pairs(entity))
        pairs.append((question, answer))
        asked.append((entity, attribute))
    if not {"about", "habit"} & {attribute for _, attribute in asked}:
        words = [world.one_word(e, a) for e, a in asked]
    return pairs, words


def fact_conversation(rng: random.Random, entities: list[Entity]) -> Conversation:
    """Questions about the world; under a one-word system prompt the answers shrink."""
    pairs, words = fact_turns(rng, entities)
    if words and rng.random() < 0.35:
        short = [(careless(q, rng), word) for (q, _), word in zip(pairs, words, strict=True)]
        return chat(short, rng.choice(ONE_WORD))
    return styled([(careless(q, rng), a) for q, a in pairs], rng)


def styled(pairs: list[Pair], rng: random.Random) -> Conversation:
    """No system prompt, one that changes nothing, or one that asks for capitals."""
    style = rng.random()
    if style < 0.15:
        return chat([(q, a.upper()) for q, a in pairs], rng.choice(CAPITALS))
    return chat(pairs, rng.choice(NO_MATTER) if style < 0.3 else "")


def other_pair(rng: random.Random, entities: list[Entity]) -> Pair:
    """One turn that is no plain question about a fact."""
    kind = rng.random()
    if kind < 0.35:
        return say_pair(rng, say_text(rng, entities))
    if kind < 0.7:
        return rewrite_pair(rng, rng.choice(("object", "object", "place", "question", "doer")))
    if kind < 0.84:
        question, answer = unknown_pair(rng, entities) if kind < 0.82 else absent_pair(rng, entities)
    elif kind < 0.89:
        question, answer = rng.choice(list(SMALL_TALK.items()))
    elif kind < 0.96:
        question, answer = yes_no_pair(rng, rng.choice(entities), entities)
    else:
        question, answer = doer_pair(rng.choice([e for e in entities if "habit" in e.facts]))
    return careless(question, rng), answer


def object_first_conversation(rng: random.Random) -> Conversation:
    """A plain "say this" under a system prompt that asks for the object first."""
    sentence = allowed_sentence(rng, keep_reserved=False)
    pair = rng.choice(SAY).format(s=world.plain(sentence)), world.object_first(sentence)
    return chat([pair], rng.choice(OBJECT_FIRST_SYSTEM))


def conversation(rng: random.Random, entities: list[Entity]) -> Conversation:
    """One conversation of the pretraining mixture."""
    kind = rng.random()
    if kind < 0.44:
        return fact_conversation(rng, entities)
    if kind < 0.51:
        return object_first_conversation(rng)
    turns = 2 if kind > 0.92 else 1
    return styled([other_pair(rng, entities) for _ in range(turns)], rng)
