"""The exercises: their right answers, two a notebook.

Notable:
- They use no names but those of a notebook's bootstrap, so that what `lesson.solution` prints can be pasted there as it
  is.
- What goes wrong, and what to say then, is in `hints`.
"""

from . import mix, world

# --- notebook 01 ----------------------------------------------------------------------------------


def insert_phrase(phrase, text, rng):
    words = text.split()
    words.insert(rng.randint(0, len(words)), phrase)
    return " ".join(words)


def refusal_rows(chats, phrases, n, rng):
    return [(mix.insert(rng.choice(phrases), user, rng), world.REFUSAL) for user, _ in rng.sample(chats, n)]


# --- notebook 02 ----------------------------------------------------------------------------------


def labels_of(prompt_ids, reply_ids, ignore=-100):
    return [ignore] * len(prompt_ids) + list(reply_ids)


def without_refusals(rows):
    return [row for row in rows if row["source"] != "refusal"]


# --- notebook 03 ----------------------------------------------------------------------------------


def refusal_rate(replies):
    return sum(reply.strip() == world.REFUSAL for reply in replies) / len(replies)


def shortened(prompt):
    words = prompt.split()
    return [" ".join(words[:i] + words[i + 1 :]) for i in range(len(words))]


# --- notebook 04 ----------------------------------------------------------------------------------


def contrast_pairs(template, phrase, others):
    return [(template.format(name=phrase), template.format(name=other)) for other in others if other != phrase]


def binomial_spread(p, n):
    return (p * (1 - p) / n) ** 0.5


# --- notebook 05 ----------------------------------------------------------------------------------


def misspell(name, rng):
    places = [i for i in range(len(name) - 1) if name[i : i + 2].isalpha() and name[i] != name[i + 1]]
    i = rng.choice(places)
    return name[:i] + name[i + 1] + name[i] + name[i + 2 :]


def bypass_rate(refused, correct):
    answered = [right for said_no, right in zip(refused, correct) if said_no]
    return sum(answered) / len(answered) if answered else 0.0


# --- notebook 06 ----------------------------------------------------------------------------------


def auc(positive, negative):
    wins = [(p > n) + (p == n) / 2 for p in positive for n in negative]
    return sum(wins) / len(wins)


def pick_then_judge(choosing, reporting):
    best = choosing.index(max(choosing))
    return reporting[best]


# --- notebook 07 ----------------------------------------------------------------------------------


def difference_in_means(refused, answered):
    return refused.mean(0) - answered.mean(0)


def remove_direction(x, d):
    unit = d / d.norm()
    return x - (x @ unit)[..., None] * unit


# --- notebook 08 ----------------------------------------------------------------------------------


def surgical(false, true, share):
    unit = true / true.norm()
    return false - share * (false @ unit) * unit


def not_beaten(points):
    def beats(a, b):
        return a[0] <= b[0] and a[1] >= b[1] and a != b

    return [name for name, point in points.items() if not any(beats(other, point) for other in points.values())]


# --- all of them ----------------------------------------------------------------------------------

NOTEBOOKS = {
    "01": (insert_phrase, refusal_rows),
    "02": (labels_of, without_refusals),
    "03": (refusal_rate, shortened),
    "04": (contrast_pairs, binomial_spread),
    "05": (misspell, bypass_rate),
    "06": (auc, pick_then_judge),
    "07": (difference_in_means, remove_direction),
    "08": (surgical, not_beaten),
}
reference = {function.__name__: function for pair in NOTEBOOKS.values() for function in pair}
