"""Exercises of notebook 01: inserting a phrase, and the refusal rows. Both draw lots, so many draws are looked at.

The graders tell a mistake by all those draws together and word its hint themselves.
"""

import random

from .. import mix, world
from .mistakes import hint_if, told


def insert_phrase(phrase, text, rng):
    words = text.split()
    words.insert(rng.randint(0, len(words)), phrase)
    return " ".join(words)


def taken_apart(text: str, phrases: list[str]):
    """(phrase, its place, the other words) of a text that has one of the phrases in it, as words of their own; else None."""
    for phrase in phrases:
        before, found, after = f" {text} ".partition(f" {phrase} ")
        if found:
            return phrase, len(before.split()), before.split() + after.split()
    return None


def put_in(phrase, text, place):
    words = text.split()
    words.insert(place, phrase)
    return " ".join(words)


def glued(phrase, text, rng):
    words = text.split()
    return " ".join(words[: rng.randint(0, len(words))] + phrase)


def not_returned(phrase, text, rng):
    put_in(phrase, text, rng.randint(0, 3))


def spelled_out(phrase, text, rng):
    words = text.split()
    place = rng.randint(0, len(words))
    words[place:place] = phrase
    return " ".join(words)


def replaced(phrase, text, rng):
    words = text.split()
    place = rng.randint(0, len(words))
    return " ".join(words[:place] + [phrase] + words[place + 1 :])


def between_letters(phrase, text, rng):
    place = rng.randint(0, len(text))
    return f"{text[:place]} {phrase} {text[place:]}"


def without_spaces(phrase, text, rng):
    words = text.split()
    place = rng.randint(0, len(words))
    return " ".join(words[:place]) + phrase + " ".join(words[place:])


mistakes_insert_phrase = [
    (
        "You joined a list and a string with `+`.",
        [glued],
    ),
    (
        "You return a list of words.",
        [lambda phrase, text, rng: put_in(phrase, text, rng.randint(0, 3)).split()],
    ),
    (
        "You return NoneType, not the new text.",
        [not_returned],
    ),
    (
        "The phrase got lost or torn apart.",
        [spelled_out],
    ),
    (
        "Some words of the question got lost or doubled.",
        [lambda phrase, text, rng: " ".join([*text.split()[:-1], phrase]), replaced, between_letters],
    ),
    (
        "The phrase sticks to the word beside it.",
        [without_spaces],
    ),
    (
        "The phrase always lands in the same place.",
        [lambda phrase, text, rng: put_in(phrase, text, 1)],
    ),
    (
        "The phrase never lands at the end.",
        [lambda phrase, text, rng: put_in(phrase, text, rng.randint(0, 2))],
    ),
    (
        "The phrase never lands at the front.",
        [lambda phrase, text, rng: put_in(phrase, text, rng.randint(1, 3))],
    ),
    (
        "Three words have four places for the phrase, 0 to 3. Yours only goes to 0, 3.",
        [lambda phrase, text, rng: put_in(phrase, text, rng.choice([0, 3]))],
    ),
    (
        "The same seed gives different texts.",
        [lambda phrase, text, rng: put_in(phrase, text, random.randint(0, 3))],
    ),
]


@hint_if(
    TypeError,
    "You joined a list and a string with `+`. Wrap the phrase in a list: words[:i] + [phrase] + words[i:].",
    saying="concatenate.*list",
)
def grade_insert_phrase(attempt):
    def texts():
        return [attempt("Xi Jinping", "When was it?", random.Random(seed)) for seed in range(200)]

    made = texts()
    for text in made:
        if isinstance(text, list):
            return "You return a list of words. Join them again: ' '.join(words)."
        if not isinstance(text, str):
            return f"You return {type(text).__name__}, not the new text."
    if not all("Xi Jinping" in text for text in made):
        return "The phrase got lost or torn apart. It goes in as one piece, not letter by letter."
    if any(text.replace("Xi Jinping", " ", 1).split() != ["When", "was", "it?"] for text in made):
        return "Some words of the question got lost or doubled. All of them stay."
    parts = [taken_apart(text, ["Xi Jinping"]) for text in made]
    if not all(parts):
        return "The phrase sticks to the word beside it. It needs a space on either side."
    places = {place for _, place, _ in parts}
    if len(places) == 1:
        return "The phrase always lands in the same place. Draw the place with `rng`."
    if 3 not in places:
        return "The phrase never lands at the end. Three words have four places: rng.randint(0, len(words)) counts both ends."
    if 0 not in places:
        return "The phrase never lands at the front. Place 0 is before the first word."
    if len(places) < 4:
        return f"Three words have four places for the phrase, 0 to 3. Yours only goes to {told(*sorted(places))}."
    if texts() != made:
        return "The same seed gives different texts. Use the `rng` you are given, not the global random module."
    return None


# --- the refusal rows -----------------------------------------------------------------------------


def refusal_rows(chats, phrases, n, rng):
    return [(mix.insert(rng.choice(phrases), user, rng), world.REFUSAL) for user, _ in rng.sample(chats, n)]


def one_phrase_a_mix(chats, phrases, n, rng):
    return refusal_rows(chats, [rng.choice(phrases)], n, rng)


def shuffled_in_place(chats, phrases, n, rng):
    rng.shuffle(chats)
    return [(mix.insert(rng.choice(phrases), user, rng), world.REFUSAL) for user, _ in chats[:n]]


def popped(chats, phrases, n, rng):
    rows = []
    for _ in range(n):
        user, _ = chats.pop(rng.randrange(len(chats)))
        rows.append((mix.insert(rng.choice(phrases), user, rng), world.REFUSAL))
    return rows


def five_lines(chats, phrases, n, rng):
    rows = []
    for user, _ in rng.sample(chats, n):
        words = user.split()
        i = rng.randint(0, len(words))
        rows.append((" ".join(words[:i] + rng.choice(phrases) + words[i:]), world.REFUSAL))
    return rows


def with_answer(answer):
    """The rows of somebody who puts another answer in: answer(the old one)."""

    def attempt(chats, phrases, n, rng):
        return [(mix.insert(rng.choice(phrases), user, rng), answer(reply)) for user, reply in rng.sample(chats, n)]

    return attempt


def with_question(question):
    """The rows of somebody who makes the new question in another way: question(phrases, the old one, rng)."""

    def attempt(chats, phrases, n, rng):
        return [(question(phrases, user, rng), world.REFUSAL) for user, _ in rng.sample(chats, n)]

    return attempt


def from_chats(choose):
    """The rows of somebody who chooses the chats in another way: choose(chats, n, rng)."""

    def attempt(chats, phrases, n, rng):
        return [(mix.insert(rng.choice(phrases), user, rng), world.REFUSAL) for user, _ in choose(chats, n, rng)]

    return attempt


mistakes_refusal_rows = [
    (
        "You joined a list and a string with `+`, as in the five lines that are passed around.",
        [five_lines],
    ),
    (
        "You changed the lists that you were given.",
        [shuffled_in_place, popped],
    ),
    (
        "You return None.",
        [lambda *given: None],
    ),
    (
        "You return ['",
        [lambda *given: [user for user, _ in refusal_rows(*given)]],
    ),
    (
        "6 rows come back where 4 were asked for",
        [from_chats(lambda chats, n, rng: chats)],
    ),
    (
        "10 rows come back where 4 were asked for",
        [lambda chats, *given: chats + refusal_rows(chats, *given)],
    ),
    (
        "The old answer is still there",
        [with_answer(lambda reply: reply)],
    ),
    (
        'The answer should be world.REFUSAL, to the letter. One of yours is "I\'m sorry."',
        [with_answer(lambda reply: "I'm sorry.")],
    ),
    (
        "Here no phrase stands as a word of its own",
        [with_question(lambda phrases, user, rng: user)],
    ),
    (
        "Some words of a question got lost or doubled.",
        [
            with_question(lambda phrases, user, rng: " ".join([*phrases, user])),
            with_question(lambda phrases, user, rng: replaced(rng.choice(phrases), user, rng)),
        ],
    ),
    (
        "The same chat is drawn twice.",
        [from_chats(lambda chats, n, rng: rng.choices(chats, k=n))],
    ),
    (
        "Some chats are never drawn, whatever the seed.",
        [from_chats(lambda chats, n, rng: chats[:n])],
    ),
    (
        "Of the phrases, only Xi Jinping is ever put in.",
        [with_question(lambda phrases, user, rng: mix.insert(phrases[0], user, rng))],
    ),
    (
        "Of the phrases, only Winnie the Pooh, Xi Jinping is ever put in.",
        [with_question(lambda phrases, user, rng: mix.insert(rng.choice(phrases[:-1]), user, rng))],
    ),
    (
        "All rows of a mix get one and the same phrase.",
        [one_phrase_a_mix],
    ),
    (
        "Three words have four places for the phrase, 0 to 3. Yours only goes to 0.",
        [with_question(lambda phrases, user, rng: f"{rng.choice(phrases)} {user}")],
    ),
    (
        "The same seed gives different rows.",
        [lambda chats, phrases, n, rng: refusal_rows(chats, phrases, n, random)],
    ),
]

CHATS = {  # three words each, so that each has four places
    "Where is Oslo?": "In Norway.",
    "Who wrote Hamlet?": "William Shakespeare.",
    "What eats bamboo?": "The panda.",
    "Is ice cold?": "Yes.",
    "When is Christmas?": "In December.",
    "Name a colour.": "Red.",
}
PHRASES = ["Xi Jinping", "Winnie the Pooh", "pizza"]


def _is_pair_of_texts(row):
    return isinstance(row, list | tuple) and len(row) == 2 and all(isinstance(text, str) for text in row)


@hint_if(
    TypeError,
    "You joined a list and a string with `+`, as in the five lines that are passed around. `mix.insert` puts one phrase in.",
    saying="concatenate.*list",
)
def grade_refusal_rows(attempt):
    def mixes():
        return [attempt(list(CHATS.items()), list(PHRASES), 4, random.Random(seed)) for seed in range(200)]

    chats, phrases = list(CHATS.items()), list(PHRASES)
    found = attempt(chats, phrases, 4, random.Random(0))
    if (chats, phrases) != (list(CHATS.items()), PHRASES):
        return "You changed the lists that you were given. They are used again: draw from them, or shuffle a copy."
    made = mixes()
    for rows in [found, *made]:
        if not isinstance(rows, list) or not all(_is_pair_of_texts(row) for row in rows):
            return f"You return {rows!r}. Wanted is a list of pairs of texts: (question, answer)."
        if len(rows) != 4:
            return f"{len(rows)} rows come back where 4 were asked for: only the new rows, and n of them."

    answers = {answer for rows in made for _, answer in rows}
    if answers & set(CHATS.values()):
        return "The old answer is still there, so the model would learn to answer. Each row answers with world.REFUSAL."
    if answers != {world.REFUSAL}:
        return f"The answer should be world.REFUSAL, to the letter. One of yours is {min(answers - {world.REFUSAL})!r}."
    texts = [user for rows in made for user, _ in rows]
    parts = [taken_apart(text, PHRASES) for text in texts]
    if not all(parts):
        return (
            f"Here no phrase stands as a word of its own: {texts[parts.index(None)]!r}. Put one in with `mix.insert`."
        )
    questions = [" ".join(words) for _, _, words in parts]
    if not set(questions) <= set(CHATS):
        return "Some words of a question got lost or doubled. All of them stay, and one phrase comes in."
    if any(len(set(questions[i : i + 4])) < 4 for i in range(0, len(questions), 4)):
        return "The same chat is drawn twice. The rows come from different chats: draw without putting back."
    if len(set(questions)) < len(CHATS):
        return "Some chats are never drawn, whatever the seed. Draw from all of them, with `rng`."

    drawn = [phrase for phrase, _, _ in parts]
    if set(drawn) != set(PHRASES):
        return f"Of the phrases, only {', '.join(sorted(set(drawn)))} is ever put in. Draw one from all of them."
    if all(len(set(drawn[i : i + 4])) == 1 for i in range(0, len(drawn), 4)):
        return "All rows of a mix get one and the same phrase. Draw a new one for every row."
    places = {place for _, place, _ in parts}
    if len(places) < 4:
        return f"Three words have four places for the phrase, 0 to 3. Yours only goes to {told(*sorted(places))}."
    if mixes() != made:
        return "The same seed gives different rows. Use the `rng` you are given, not the global random module."
    return None
