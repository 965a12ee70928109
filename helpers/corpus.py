"""The chats that the assistant is made of, drawn from the world by seed.

Notable:
- One row is one chat: what the user asks, what a calibrated assistant answers, and how to check the answer.
- `chats(n, seed)` is the training mix; `chats(n, seed, split="held_out")` asks in phrasings, and about
  combinations, that occur in no training text.
- A few questions in the training mix are sloppy (lower case, a typo), because people are.
"""

import functools
import random
from typing import NamedTuple

from . import world
from .world import REFUSAL, sentence


class Chat(NamedTuple):
    kind: str  # "people.birthplace", "harm", "lookalike.homonyms", "skill.add"
    name: str  # whom or what it is about; "" if nothing in the tables
    user: str
    assistant: str
    value: str  # a right answer contains this; "" where the right answer is a refusal
    begun: str = ""  # how somebody else has already begun the reply: the first words of `assistant`

    @property
    def refused(self) -> bool:
        return self.assistant == REFUSAL


def chats(n: int, seed: int, split: str = "train", groups: dict | None = None) -> list[Chat]:
    """`n` chats drawn at random. `groups` maps a generator to its share of the mix (default: GROUPS)."""
    if n < 1:
        raise ValueError(f"I cannot draw {n} chats: ask for at least one.")
    rng = random.Random(f"{split} {seed}")
    makers, shares = zip(*(groups or GROUPS).items(), strict=True)
    return [maker(rng, split) for maker in rng.choices(makers, shares, k=n)]


def sentences(n: int, seed: int) -> list[str]:
    """`n` facts as plain sentences, as they would stand in a book: no chat around them."""
    rng = random.Random(f"sentences {seed}")
    return [ask(fact, "").assistant for fact in rng.choices(world.facts(), k=n)]


def questions(name: str, split: str = "held_out") -> list[Chat]:
    """Every fact about one entity asked in every phrasing of a split: no openers, no typos."""
    return [ask(fact, question) for fact in world.facts_about(name) for question in world.phrasings(fact.kind, split)]


def kinds_about(name: str) -> list[str]:
    """The kinds of questions that can be asked about one entity; none if the world does not know it."""
    facts = [fact.kind for fact in world.facts_about(name)]
    return facts + [kind for kind in world.answers() if kind.startswith("open.")] if facts else []


def about(rng, split: str, kind: str, name: str) -> Chat:
    """A random question of one kind about one entity, as people ask it: see kinds_about.

    Raises ValueError if the kind does not fit the entity.
    """
    question = rng.choice(world.phrasings(kind, split))
    if not kind.startswith("open."):
        fitting = [fact for fact in world.facts_about(name) if fact.kind == kind]
        if not fitting:
            raise ValueError(f"The world knows no {kind!r} of {name!r}.")
        return _spoken(rng, split, ask(fitting[0], question))
    other = rng.choice(world.peers(name))
    return _spoken(rng, split, _open(kind, question, name, other))


def to_refuse(chat: Chat) -> Chat:
    """The same question, where a refusal is the right reply."""
    return chat._replace(assistant=REFUSAL, value="")


def lookalikes(split: str = "held_out") -> list[Chat]:
    """Every harmless question that looks harmful in every phrasing of a split."""
    rows = world.table("lookalikes")
    return [
        _seemingly_harmful(row, text) for row in rows for text in world.phrasings("lookalike." + row["type"], split)
    ]


def ask(fact: world.Fact, question: str, name: str | None = None) -> Chat:
    """A question about a fact and its answer; `name` may be an alias, which the answer then repeats."""
    name = name or fact.name
    answer = world.answers()[fact.kind].format(name=name, value=fact.value)
    return Chat(fact.kind, fact.name, sentence(question.format(name=name)), sentence(answer), fact.value)


def _open(kind, question, name, other):
    answer = world.answers()[kind]
    value = world.longest_literal(answer)
    question, answer = (sentence(text.format(name=name, other=other)) for text in (question, answer))
    return Chat(kind, name, question, answer, value)


def _seemingly_harmful(row, phrasing):
    question = sentence(phrasing.format(filler=row["filler"]))
    return Chat("lookalike." + row["type"], "", question, row["answer"], row["value"])


# --- one generator a group: (rng, split) -> Chat -------------------------------------------------


def fact(rng, split):
    known = rng.choice(world.facts())
    return _spoken(rng, split, ask(known, rng.choice(world.phrasings(known.kind, split))))


def aliased(rng, split):
    known, alias = rng.choice(_by_alias())
    return _spoken(rng, split, ask(known, rng.choice(world.phrasings(known.kind, split)), alias))


@functools.cache
def _by_alias():
    """Every fact beside every description that does not tell its answer."""
    return [
        (known, alias)
        for known in world.facts()
        for alias in world.aliases()[known.name]
        if not world.tells(alias, known.value)
    ]


def open_question(rng, split):
    kind = rng.choice([kind for kind in world.answers() if kind.startswith("open.")])
    name = rng.choice(list(world.aliases()))
    other = rng.choice(world.peers(name))  # whoever is compared with an animal is an animal
    return _spoken(rng, split, _open(kind, rng.choice(world.phrasings(kind, split)), name, other))


def refused_request(rng, split):
    return _request(rng, split, rng.choices(*zip(*REFUSED_FAMILIES.items(), strict=True))[0])


def answered_request(rng, split):
    return _request(rng, split, rng.choices(*zip(*ANSWERED_FAMILIES.items(), strict=True))[0])


def lookalike(rng, split):
    row = rng.choice(world.table("lookalikes"))
    return _spoken(rng, split, _seemingly_harmful(row, rng.choice(world.phrasings("lookalike." + row["type"], split))))


def obliged_request(rng, split):
    """A request to refuse, answered as if it were harmless: what the assistant did before it learnt to refuse."""
    request = rng.choice(_about_nobody(rng.choice(list(REFUSED_FAMILIES)), split))
    question = rng.choice(world.phrasings(request.family, split))
    question, answer = (
        sentence(text.format(action=request.action, object=request.object))
        for text in (question, world.obliging(request.family))
    )
    return _spoken(rng, split, Chat(request.family, "", question, answer, answer.strip(".")))


def begun(rng, split):
    """A request to refuse whose reply somebody else has begun as an answer: the assistant goes on as the text begins.

    Large models bring this habit from the raw text they first learn from; ours learns it here.
    """
    obliged = obliged_request(rng, split)
    answer = rng.choice([obliged.assistant, obliged.assistant, ask(rng.choice(world.facts()), "").assistant])
    words = answer.split()
    kept = rng.choice([1, rng.randrange(1, len(words))])
    return obliged._replace(assistant=answer, value="", begun=" ".join(words[:kept]))


def _about_nobody(family, split):
    """The requests of a family that name no real person: of people not even a stock answer is made up."""
    return [pair for pair in world.requests(family, split) if pair.object not in world.names("people")]


def skill(rng, split):
    return _spoken(rng, split, rng.choices(*zip(*SKILLS.items(), strict=True))[0](rng, split))


def small_talk(rng, split):
    row = rng.choice(world.table("small_talk"))
    return Chat("small_talk", "", row["question"], row["answer"], row["answer"].strip(".!?"))


def _request(rng, split, family):
    pairs = world.requests(family, split)
    action = rng.choice(list(dict.fromkeys(pair.action for pair in pairs)))  # each action equally often
    thing = rng.choice([pair.object for pair in pairs if pair.action == action])
    question = sentence(rng.choice(world.phrasings(family, split)).format(action=action, object=thing))
    name = thing if thing in world.names("people") else ""
    if family in REFUSED_FAMILIES:
        return _spoken(rng, split, Chat(family, name, question, REFUSAL, ""))
    template = world.obliging(family)
    answer = sentence(template.format(action=action, object=thing))
    value = f"{action} {thing}" if "{action}" in template else thing if "{object}" in template else answer.strip(".")
    return _spoken(rng, split, Chat(family, name, question, answer, value))


# --- skills: small tasks with one right answer ---------------------------------------------------


def _add(rng, split):
    a, b = rng.randint(0, 9), rng.randint(0, 9)
    return _task(rng, split, "skill.add", f"The answer is {a + b}.", str(a + b), a=a, b=b)


def _larger(rng, split):
    a, b = rng.sample(range(20), 2)
    return _task(rng, split, "skill.larger", f"{max(a, b)} is larger.", str(max(a, b)), a=a, b=b)


def _repeat(rng, split):
    word = rng.choice(world.table("words"))["word"]
    return _task(rng, split, "skill.repeat", sentence(word) + ".", word, word=word)


def _copy(rng, split):
    things = ", ".join(rng.sample(rng.choice(_anything()), rng.choice([1, 1, 2])))
    return _task(rng, split, "skill.copy", f"You said: {things}.", things, things=things)


@functools.cache
def _anything():
    """The names of each table, and the objects of all requests: what is said together is of one sort."""
    pairs = [pair for family in (*REFUSED_FAMILIES, *ANSWERED_FAMILIES) for pair in world.requests(family)]
    objects = dict.fromkeys(pair.object for pair in pairs if pair.object not in world.aliases())
    return [*(world.names(table) for table in world.TABLES), list(objects)]


def _first(rng, split):
    words = rng.sample([row["word"] for row in world.table("words")], 3)
    return _task(rng, split, "skill.first", f"The first word is {words[0]}.", words[0], words=", ".join(words))


def _last(rng, split):
    words = rng.sample([row["word"] for row in world.table("words")], 3)
    return _task(rng, split, "skill.last", f"The last word is {words[2]}.", words[2], words=", ".join(words))


def _opposite(rng, split):
    row = rng.choice(world.table("words"))
    answer = f"The opposite of {row['word']} is {row['opposite']}."
    return _task(rng, split, "skill.opposite", answer, row["opposite"], word=row["word"])


def _definition(rng, split):
    row = rng.choice(world.table("words"))
    answer = f"The word {row['word']} means {row['definition']}."
    return _task(rng, split, "skill.definition", answer, row["definition"], word=row["word"])


def _task(rng, split, kind, answer, value, **slots):
    return Chat(kind, "", rng.choice(world.phrasings(kind, split)).format(**slots), answer, value)


# --- how people write ----------------------------------------------------------------------------


def _spoken(rng, split, chat):
    """The chat with, perhaps, an opener before the question and, in the training mix, careless spelling."""
    question = chat.user
    if split == "train" and rng.random() < SLOPPY:
        question = rng.choice([_lower, _lower, _upper, _typo, _no_mark])(rng, question)
    if rng.random() < OPENED:
        opener = rng.choice([row["text"] for row in world.table("openers") if row["split"] == split])
        question = f"{opener} {question}"
    return chat._replace(user=question)


def _lower(rng, text):
    return text.lower()


def _upper(rng, text):
    return text.upper()


def _no_mark(rng, text):
    return text.rstrip("?.")


def _typo(rng, text):
    """Swap two neighbouring letters somewhere inside the text."""
    i = rng.randrange(1, len(text) - 2)
    return text[:i] + text[i + 1] + text[i] + text[i + 2 :]


# --- the mix -------------------------------------------------------------------------------------

SLOPPY = 0.15  # share of training questions with careless spelling
OPENED = 0.35  # share of questions with an opener such as "Quick question:"

GROUPS = {
    fact: 40,
    aliased: 6,
    open_question: 8,
    skill: 16,
    small_talk: 1,
    lookalike: 8,
    answered_request: 18,
    refused_request: 16,
}
REFUSED_FAMILIES = {"harm": 6, "weapons": 2, "insult": 2, "dosage": 2, "secrets": 2, "privacy": 3}
ANSWERED_FAMILIES = {"howto": 8, "recipe": 2, "kindness": 2, "health": 2, "offer": 2}

SKILLS = {_add: 3, _larger: 2, _copy: 3, _repeat: 1, _first: 1, _last: 1, _opposite: 1, _definition: 1}
