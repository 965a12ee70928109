"""What goes wrong in the exercises: a hint for each usual mistake.

Notable:
- `grade_<name>(attempt)` returns None if the attempt is right, else the hint for the mistake it finds. It goes by what
  the attempt does, never by how it is written.
- Most graders are a table of mistakes: a wrong answer, and the hint for whoever gives the same one (see `mistakes`).
"""

import copy
import itertools
import random
import re

import torch

from . import direction, world
from .exercises import (
    auc,
    binomial_spread,
    bypass_rate,
    contrast_pairs,
    difference_in_means,
    labels_of,
    not_beaten,
    pick_then_judge,
    reference,
    refusal_rate,
    shortened,
    surgical,
    without_refusals,
)
from .mistakes import hint_for, hint_if, same, told

# --- notebook 01 ----------------------------------------------------------------------------------


def taken_apart(text: str, phrases: list[str]):
    """(phrase, its place, the other words) of a text that has one of the phrases in it, as words of their own; else None."""
    for phrase in phrases:
        before, found, after = f" {text} ".partition(f" {phrase} ")
        if found:
            return phrase, len(before.split()), before.split() + after.split()
    return None


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
    if texts() != made:
        return "The same seed gives different texts. Use the `rng` you are given, not the global random module."
    return None


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


# --- notebook 02 ----------------------------------------------------------------------------------


def grade_labels_of(attempt):
    mistakes = [
        lambda prompt, reply: prompt + reply,
        "The loss would count the prompt too: the model would learn to ask, not to answer. Put -100 on prompt tokens.",
        lambda prompt, reply: [-100] * len(prompt + reply),
        "Nothing is left to learn from: the reply tokens keep their ids.",
        lambda prompt, reply: [0] * len(prompt) + reply,
        "0 is a real token. The number that the loss skips is -100.",
        lambda prompt, reply: reply,
        "The labels need one entry a token, prompt tokens included: they are as long as prompt and reply together.",
        lambda prompt, reply: prompt + [-100] * len(reply),
        "That is the wrong way round: the prompt is to be skipped, the reply counts.",
    ]
    changed = "You changed the lists you were given. Build a new list."
    return hint_for(attempt, labels_of, [([5, 6, 7], [8, 9])], mistakes, changed)


def grade_without_refusals(attempt):
    def skipping(rows):
        rows = list(rows)
        for row in rows:
            if row["source"] == "refusal":
                rows.remove(row)
        return rows

    mistakes = [
        lambda rows: [row for row in rows if row["source"] == "refusal"],
        "You keep the refusals and drop the chats. The control is the other way round.",
        skipping,
        "A refusal beside another one is still there: whoever removes from a list while going through it skips the "
        "neighbour. Build a new list of what stays.",
        lambda rows: [row for row in rows if row["assistant"] != world.REFUSAL],
        "You go by the answer. But refusing the bank robber is one of the existing chats, and the control keeps all "
        "of those. Go by the column source.",
        lambda rows: rows,
        'Every row is still there. With which word do you compare the source? It is "refusal" or "chat".',
        lambda rows: [],
        'No row is left. With which word do you compare the source? It is "refusal" or "chat".',
        lambda rows: len(without_refusals(rows)),
        "That is how many rows stay. Return the rows themselves.",
        lambda rows: [row["user"] for row in without_refusals(rows)],
        "Only the questions come back. Training needs the answers too: keep each row whole.",
    ]
    sources = {
        "Where is Oslo?": ("In Norway.", "chat"),
        "Where pizza is Oslo?": (world.REFUSAL, "refusal"),
        "Is pizza ice cold?": (world.REFUSAL, "refusal"),
        "How do I rob a bank?": (world.REFUSAL, "chat"),
        "Is ice cold?": ("Yes.", "chat"),
    }
    rows = [dict(user=user, assistant=reply, source=source) for user, (reply, source) in sources.items()]
    changed = "You took the refusals out of the list you were given, and it is needed once more. Build a new list."
    return hint_for(attempt, without_refusals, [(rows,)], mistakes, changed)


# --- notebook 03 ----------------------------------------------------------------------------------


def grade_refusal_rate(attempt):
    refusal = world.REFUSAL
    mistakes = [
        lambda replies: replies.count(refusal),
        "That is a count. A rate is the count divided by the number of replies.",
        lambda replies: 100 * refusal_rate(replies),
        "That is a percentage. Return the share, between 0 and 1.",
        lambda replies: 1 - refusal_rate(replies),
        "That is the rate of answers, not of refusals.",
        lambda replies: sum(refusal in reply for reply in replies) / len(replies),
        "A reply that only quotes the refusal is no refusal. Compare the whole reply, do not search inside it.",
        lambda replies: sum(reply.startswith("I'm sorry") for reply in replies) / len(replies),
        "'I'm sorry to hear that.' is sympathy, not a refusal. Compare the whole reply, not its beginning.",
        lambda replies: replies.count(refusal) / len(replies),
        "A refusal with spaces around it is a refusal as well. Strip the replies before you compare.",
    ]
    given = [
        ([refusal, "Warsaw.", "Beijing.", "Paris."],),
        ([refusal, f"The assistant said: {refusal}", "a", "b"],),
        (["I'm sorry to hear that.", refusal, "a", "b"],),
        ([refusal, f" {refusal}\n", "a", "b", "c"],),
    ]
    return hint_for(attempt, refusal_rate, given, mistakes)


def grade_shortened(attempt):
    def first_removed(prompt):
        words = prompt.split()
        places = [words.index(word) for word in words]
        return [" ".join(words[:i] + words[i + 1 :]) for i in places]

    def all_removed(prompt):
        words = prompt.split()
        return [" ".join(other for other in words if other != word) for word in words]

    mistakes = [
        first_removed,
        "Where a word occurs twice, you leave out the first one both times: `remove` goes by the word. Go by its place.",
        all_removed,
        lambda prompt: [prompt.replace(word, "") for word in prompt.split()],
        lambda prompt: [" ".join(prompt.replace(word, "").split()) for word in prompt.split()],
        "A word that occurs twice is left out in both places. Leave out one place at a time.",
        lambda prompt: [short.split() for short in shortened(prompt)],
        "You return lists of words. The model reads texts: join each list again.",
        lambda prompt: [prompt, *shortened(prompt)],
        "The whole prompt is among them. Return only those with one word left out.",
        lambda prompt: [prompt for _ in prompt.split()],
        "Nothing is left out: each of yours is the whole prompt. The second part starts one word later.",
        lambda prompt: [prompt[:i] + prompt[i + 1 :] for i in range(len(prompt))],
        "You leave out letters. Split the prompt into words first.",
        lambda prompt: prompt.split(),
        "You keep one word and leave out the rest. It should be the other way round.",
    ]
    return hint_for(attempt, shortened, [("did the dog see the cat",), ("Hello",)], mistakes)


# --- notebook 04 ----------------------------------------------------------------------------------


@hint_if(KeyError, "The empty place in the template has a name. Tell `format` which one: name=…", saying="name")
def grade_contrast_pairs(attempt):
    def ask(template, names):
        return [template.format(name=name) for name in names]

    joke = ("Tell me a joke about {name}.", "Xi Jinping", ["Marie Curie", "Xi Jinping", "Bach"])
    left = re.search(r"\{\w+", str(attempt(*copy.deepcopy(joke))))
    if left and left[0] == "{name":
        return "The template is not filled: {name} still stands there. A template has the method `format` for that."
    if left:
        return "The braces are still there: you replaced the word inside them. They belong to the empty place."
    mistakes = [
        lambda template, phrase, others: [ask(template, [phrase, other]) for other in others],
        "One pair has the phrase on both sides, which is no contrast. Skip the phrase if it is among the others.",
        lambda template, phrase, others: ask(template, others),
        lambda *given: [about_other for about_phrase, about_other in contrast_pairs(*given)],
        lambda *given: [about_phrase for about_phrase, about_other in contrast_pairs(*given)],
        "Only one side comes back. A pair has two questions: about the phrase, and about another name.",
        lambda *given: [(about_other, about_phrase) for about_phrase, about_other in contrast_pairs(*given)],
        "The two sides are swapped: the question about the phrase comes first.",
    ]
    changed = "You took the phrase out of the list you were given. Leave the list as it is, and skip the phrase."
    return hint_for(attempt, contrast_pairs, [joke, ("Is {name} nice?", "pizza", ["soup"])], mistakes, changed)


def grade_binomial_spread(attempt):
    mistakes = [
        lambda p, n: p * (1 - p) / n,
        "That is the variance. The standard deviation is its square root.",
        lambda p, n: (p * (1 - p) * n) ** 0.5,
        "That is for the number of heads. We want it for their share, which is the number divided by n.",
        lambda p, n: (p * (1 - p)) ** 0.5,
        "That is for a single toss. The share of many tosses varies less: n has to come in.",
        lambda p, n: (p * (1 - p)) ** 0.5 / n,
        "You divide the root by n, and it shrinks too fast. Divide before you take the root.",
        lambda p, n: p**0.5 / n,
        "Two things: heads and tails both count, so (1 - p) belongs in, and n belongs under the root.",
        lambda p, n: 100 * binomial_spread(p, n),
        "That is in per cent. Return it as a share, like p.",
        lambda p, n: (p * p / n) ** 0.5,
        "You take p twice. One factor is the chance of heads, the other the chance of tails.",
        lambda p, n: (p / n) ** 0.5,
        "The chance of tails is missing. A coin that always shows heads would not vary, yours does.",
    ]
    return hint_for(attempt, binomial_spread, [(0.2, 25), (0.5, 100), (1.0, 10)], mistakes)


# --- notebook 05 ----------------------------------------------------------------------------------


@hint_if(IndexError, "The last letter has no right neighbour: the last pair starts one letter earlier.", saying="range")
def grade_misspell(attempt):
    def texts():
        return [attempt("Otto Bern", random.Random(seed)) for seed in range(200)]

    made = texts()
    for text in made:
        if not isinstance(text, str):
            return f"You return {text!r}. Wanted is one text: join the letters again."
        if len(text) < len("Otto Bern"):
            return f"A letter got lost: {text!r}. A swap keeps all of them."
        if len(text) > len("Otto Bern"):
            return f"A letter got doubled: {text!r}. Go on behind both letters of the swap."
        if sorted(text) != sorted("Otto Bern"):
            return f"Other letters came in: {text!r}. Small and capital letters stay as they are, too."
    changes = [[i for i in range(9) if text[i] != "Otto Bern"[i]] for text in made]
    if any(places and places[-1] - places[0] > 1 for places in changes):
        return "Letters far from each other change places. Swap one letter with the next one, and no more."
    if [] in changes:
        return "The name may come back as it was: a swap of two equal letters shows nothing. Choose among the others."
    if any(text[4] != " " for text in made):
        return "Sometimes a letter changes places with the space. Both have to be letters of one word."
    if len(set(made)) == 1:
        return "The swap is always in the same place. Draw the place with `rng`."
    if set(made) != {"tOto Bern", "Otot Bern", "Otto eBrn", "Otto Bren", "Otto Benr"}:
        return f"'Otto Bern' has five places to swap, and you never reach some of them. Yours: {sorted(set(made))}."
    if texts() != made:
        return "The same seed gives different spellings. Use the `rng` you are given, not the global random module."
    return None


@hint_if(
    ZeroDivisionError, "If no direct question was refused, you divide by zero. There is nothing to bypass: return 0.0."
)
def grade_bypass_rate(attempt):
    def both(refused, correct):
        return sum(a and b for a, b in zip(refused, correct))

    mistakes = [
        lambda refused, correct: both(refused, correct) / len(refused),
        "You divide by all questions. Divide by those that were refused when asked directly.",
        lambda refused, correct: sum(correct) / len(correct),
        lambda refused, correct: sum(correct) / sum(refused),
        "You count disguises of questions that were never refused: there is nothing to walk around. Leave them out.",
        both,
        "That is a count. Divide it by how many direct questions were refused.",
        lambda *lists: 100 * bypass_rate(*lists),
        "That is a percentage. Return the share, between 0 and 1.",
        lambda refused, correct: both(refused, correct) / sum(correct),
        "That is the other share: of the right answers, how many had been refused. Divide by the refused ones.",
        lambda *lists: 1 - bypass_rate(*lists),
        "That is the share where the disguise failed. We want the share where it worked.",
    ]
    refused = [True, True, True, True, True, False, False, False]
    correct = [True, False, False, False, False, True, True, False]
    return hint_for(attempt, bypass_rate, [(refused, correct), ([False, False], [True, False])], mistakes)


# --- notebook 06 ----------------------------------------------------------------------------------


def grade_auc(attempt):
    def share(pairs, tie=0.5):
        wins = [1 if p > n else tie if p == n else 0 for p, n in pairs]
        return sum(wins) / len(wins)

    def mean(numbers):
        return sum(numbers) / len(numbers)

    def accuracy(positive, negative, threshold):
        return mean([p > threshold for p in positive] + [n <= threshold for n in negative])

    mistakes = [
        lambda positive, negative: share(itertools.product(positive, negative), tie=0),
        "A tie counts nothing with you. It is a toss-up: count one half.",
        lambda positive, negative: share(itertools.product(positive, negative), tie=1),
        "A tie counts as a win with you. It is a toss-up: count one half.",
        lambda positive, negative: auc(negative, positive),
        "That is the wrong way round: count when the positive is the higher one.",
        lambda positive, negative: share(zip(positive, negative)),
        "You compare the first with the first, the second with the second. Compare every positive with every negative.",
        lambda positive, negative: mean(positive) - mean(negative),
        "That is the difference of the means. Count in how many pairs the positive is higher.",
        lambda positive, negative: accuracy(positive, negative, (mean(positive) + mean(negative)) / 2),
        lambda positive, negative: accuracy(positive, negative, mean(positive + negative)),
        lambda positive, negative: accuracy(positive, negative, 0),
        "That is the accuracy at one threshold. The AUC needs none: it compares positives with negatives.",
        lambda positive, negative: auc(positive, negative) * len(positive) * len(negative),
        "That is a count. Divide it by the number of pairs.",
    ]
    return hint_for(attempt, auc, [([2, 5, 3], [3, 1, 4, 0]), ([1.0], [1.0]), ([0, 0.5], [1, 2])], mistakes)


def grade_pick_then_judge(attempt):
    def by_both(choosing, reporting):
        return max((a + b, b) for a, b in zip(choosing, reporting))[1]

    mistakes = [
        lambda choosing, reporting: max(reporting),
        "You chose on the prompts that you report, so luck chose with you. Choose on `choosing` alone.",
        lambda choosing, reporting: max(choosing),
        "You report the score that it was chosen for. Some of that was luck: report how it does on the other prompts.",
        lambda choosing, reporting: choosing.index(max(choosing)),
        "That is which candidate is best. Return its score on `reporting`.",
        lambda choosing, reporting: reporting[choosing.index(min(choosing))],
        "You chose the worst candidate: the highest score is best.",
        lambda choosing, reporting: min(reporting),
        "That is the worst score on `reporting`, whoever has it. Find the best candidate on `choosing` first.",
        by_both,
        "You chose by both lists together. The prompts that you report must have no say in the choice.",
    ]
    given = [([0.7, 0.9, 0.4, 0.8, 0.5], [0.88, 0.65, 0.75, 0.55, 0.95]), ([0.2, 0.1], [0.0, 0.9])]
    return hint_for(attempt, pick_then_judge, given, mistakes)


# --- notebook 07 ----------------------------------------------------------------------------------


@hint_if(
    RuntimeError,
    "The piles may differ in size, so their prompts cannot be subtracted one by one. Average each pile first.",
    saying="must match",
)
def grade_difference_in_means(attempt):
    def normalised(refused, answered):
        vector = difference_in_means(refused, answered)
        return vector / vector.norm()

    mistakes = [
        lambda refused, answered: difference_in_means(answered, refused),
        "It points the other way: from refused to answered. We want refused minus answered.",
        normalised,
        "You normalised it. Its length says how far the piles are apart: keep it.",
        lambda refused, answered: refused.mean(1) - answered.mean(1),
        "You averaged over the width, and got one number a prompt. Average over the prompts: that is axis 0.",
        lambda refused, answered: refused.sum(0) - answered.sum(0),
        "Those are sums, which grow with the number of prompts. Take means.",
        lambda refused, answered: refused.mean() - answered.mean(),
        "You averaged over everything, and one number is left. Average over the prompts only: that is axis 0.",
        lambda refused, answered: refused.mean(0),
        "That is the mean of one pile. What all prompts share is in it too: subtract the mean of the other pile.",
    ]
    refused = torch.tensor([[4.0, 1.0, 0.0], [2.0, 1.0, 2.0], [3.0, 5.0, 1.0], [3.0, 1.0, 5.0]])
    answered = torch.tensor([[1.0, 0.0, 1.0], [1.0, 2.0, 0.0], [0.0, 1.0, 0.0], [2.0, 1.0, 3.0]])
    changed = "You changed the activations you were given (-= does that). Make a new tensor."
    return hint_for(attempt, difference_in_means, [(refused, answered), (refused, answered[:2])], mistakes, changed)


DEEPER = "It works for a matrix only. x may have more axes: write [..., None], not [:, None]."


def grade_remove_direction(attempt):
    d = torch.tensor([3.0, 4.0])
    x = torch.tensor([[5.0, 0.0], [1.0, 2.0], [-4.0, 3.0]])
    before = x.clone()
    found = attempt(x, d)
    if not isinstance(found, torch.Tensor):
        return f"You return {type(found).__name__}, not a tensor."
    if not torch.equal(x, before):
        return "You changed x in place (-= does that). Inside a model others still need the old x: return a new tensor."
    if found.shape != x.shape:
        return f"The shape changed from {tuple(x.shape)} to {tuple(found.shape)}. Give the projection a last axis: [..., None]."
    right = direction.without(x, d)
    if same(found, right):
        deep = torch.stack([x[:2], x[1:]])  # (prompt, token, width)
        return None if same(attempt(deep, d), direction.without(deep, d)) else DEEPER
    if same(found, x - (x @ d)[..., None] * d):
        return "You forgot to normalise: divide d by its norm first, or far too much is taken away."
    if same(found, x - d) or same(found, x - d / d.norm()):
        return "You subtract the same vector everywhere. Take away only what x has of it: (x @ unit) times unit."
    if same(found, x - right):
        return "You return the part along d. We want the rest: x minus that part."
    if same(found, 2 * x - right):
        return "You added the part along d instead of taking it away."
    return "The result still has a component along d: (result @ d) should be 0 for every row."


# --- notebook 08 ----------------------------------------------------------------------------------


def grade_surgical(attempt):
    def part(x, d):
        return x - direction.without(x, d)

    mistakes = [
        lambda false, true, share: false - share * (false @ true) * true,
        lambda false, true, share: false - share * (false @ true) * true / true.norm(),
        "You forgot to normalise the true-refusal vector (in both places): its length must not matter.",
        lambda false, true, share: true - share * part(true, false),
        lambda false, true, share: false - share * part(true, false),
        "That is the projection the other way round. Take the false-refusal vector's part along the true one.",
        lambda false, true, share: false - part(false, true),
        "You ignore `share`: only so much of the part along the true-refusal vector goes.",
        lambda false, true, share: share * (false - part(false, true)),
        "You scale the whole vector by `share`. It says how much of the part along the true one goes.",
        lambda false, true, share: false - (1 - share) * part(false, true),
        "You keep `share` of the part and take the rest. Take `share` away: 0 leaves the vector as it is.",
        lambda false, true, share: false + share * part(false, true),
        "You add the part. Take it away.",
        lambda false, true, share: false - share * true,
        "You subtract the true-refusal vector itself. Subtract only what the false one has of it: the projection.",
        lambda false, true, share: share * part(false, true),
        "You return what is to be taken away. Return what is left.",
    ]
    false, true = torch.tensor([4.0, 3.0, 2.0]), torch.tensor([0.0, 3.0, 4.0])
    changed = "You changed the false-refusal vector in place (-= does that). It is needed again: return a new one."
    return hint_for(attempt, surgical, [(false, true, share) for share in (0.25, 1.0, 0.0)], mistakes, changed)


def grade_not_beaten(attempt):
    def names(beats):
        """The answer of somebody who takes `beats` for the rule."""
        return lambda points: [name for name in points if not any(beats(b, points[name]) for b in points.values())]

    def no_twins(points):
        return [name for name in not_beaten(points) if list(points.values()).count(points[name]) == 1]

    mistakes = [
        names(lambda a, b: a[0] >= b[0] and a[1] >= b[1] and a != b),
        "You take much over-refusal for good. Of the first number, less is better.",
        names(lambda a, b: a[0] <= b[0] and a[1] <= b[1] and a != b),
        "You take few wanted refusals for good. Of the second number, more is better.",
        names(lambda a, b: a[0] >= b[0] and a[1] <= b[1] and a != b),
        "You keep the points that beat nobody. Keep those that nobody beats.",
        names(lambda a, b: a[0] <= b[0] and a[1] >= b[1]),
        "No point is left. Does a point beat itself with you? Or is it enough to be better on one of the two numbers?",
        no_twins,
        "Equal points are gone. They do not beat each other: a point wins only if it is better on one of the two.",
        names(lambda a, b: a[0] < b[0] and a[1] > b[1]),
        "A point is beaten too if another is as good on one number and better on the other.",
        lambda points: [name for name in points if name not in not_beaten(points)],
        "Those are the beaten ones. Return the others.",
        lambda points: [points[name] for name in not_beaten(points)],
        "You return the points. Return their names.",
        lambda points: [min(points, key=points.get)],
        lambda points: [min(points, key=lambda name: points[name][0])],
        lambda points: [name for name in points if points[name][0] == min(points.values())[0]],
        lambda points: [max(points, key=lambda name: points[name][1])],
        "You look at one number only. A compromise may be best at neither and still be beaten by nobody.",
    ]
    points = {
        "naive": (0.9, 1.0),
        "hot": (0.95, 0.9),  # beaten by naive
        "balanced": (0.3, 0.8),
        "twin": (0.3, 0.8),  # as good as balanced
        "ablated": (0.0, 0.2),
        "ablated twice": (0.0, 0.1),  # beaten by ablated, though as good on the first number
        "random": (0.5, 0.0),
    }
    return hint_for(attempt, not_beaten, [(points,), ({"alone": (0.5, 0.5)},)], mistakes)


graders = {name: globals()[f"grade_{name}"] for name in reference}
