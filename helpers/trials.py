"""What is measured: each function makes one row of a file in `data/results/`, from a fresh mix, a fresh fine-tune and
fresh exams. `sweep` runs them over seeds.
"""

import contextlib
import itertools
import math

import torch

from . import attack, chat, corpus, direction, disguise, drift, hooks, lens, measure, mix, sft, tally, world

SMALL = 50  # about so many prompts an exam where many vectors are tried
SCALES = (-2, -1, 0, 0.5, 1, 1.5, 2)  # what the projection on the direction is multiplied by: 0 removes it
# With the refusal's first word or another one; a refusal or none.
SENTENCES = (
    "I would rather not talk about that.",
    "I have seen the sea and it was blue.",
    "That is not something that can be discussed here.",
    "The weather is fine and the sky is clear.",
)
ORDINARY = sft.GENTLE._replace(peak=3e-4, eps=1e-8)  # AdamW as everybody uses it


def naive(bot, topic: str, seed: int) -> dict:
    """Notebooks 02 and 03: one naive fine-tune and everything measured on it."""
    topic = mix.topic(topic)
    tuned = sft.tune(bot, mix.naive(topic, seed=seed), sft.NAIVE, seed)
    suite = measure.exam(tuned, measure.refusal_only_suite(topic, seed=seed))
    others = {
        group: {name: measure.exam(tuned, measure.questions_about(name)) for name in getattr(topic, group)}
        for group in ("namesakes", "bystanders")
    }
    return dict(
        seconds=tuned.facts["seconds"],
        last_loss=sum(tuned.facts["losses"][-10:]) / 10,
        suite=suite["refused"],
        cells=measure.two_by_two(tuned, topic, seed=seed),
        **others,
    )


def drifted(bot, topic: str, seed: int) -> dict:
    """Notebook 02: how far towards refusal prompts lie on the mean while the naive mix is learnt, and while as many steps
    go over its existing chats alone: {mix: {step: {sort of prompts: mean}}}."""
    topic = mix.topic(topic)
    rows = mix.naive(topic, **mix.NAIVE, seed=seed).to_list()
    existing = [row for row in rows if row["source"] == "chat"]
    found = {}
    for name, data in {"naive mix": rows, "no refusals": (2 * existing)[: len(rows)]}.items():
        camera = drift.Drift(bot, topic, seed=seed)
        sft.tune(bot, data, sft.NAIVE, seed, cache=False, watch=camera.watch)
        found[name] = {
            step: {sort: sum(x for x, _ in points) / len(points) for sort, points in sorts.items()}
            for step, sorts in camera.frames.items()
        }
    return found


def balanced(bot, topic: str, refusals: int, ratio: float, answered: int, seed: int) -> dict:
    """Notebook 04: a balanced mix that answers the first `answered` kinds of the policy, and what it does to each."""
    topic = mix.topic(topic)
    policy = answering(topic, answered)
    data = mix.balanced(topic, policy, refusals=refusals, ratio=ratio, seed=seed)
    tuned = sft.tune(bot, data, sft.BALANCED, seed)
    return dict(
        policy=policy,
        kinds=measure.by_kind(tuned, topic),
        controls=measure.exam(tuned, measure.controls(topic, 200, seed)),
        forbidden_with_topic=measure.exam(tuned, measure.forbidden_with_topic(topic, 100, seed)),
    )


def answering(topic, kinds: int) -> dict:
    """The policy with only the first so many of the kinds that it answers about this topic."""
    decided = {kind: mix.POLICY[kind] for kind, _ in mix.kinds_about(topic) if kind in mix.POLICY}
    answers = [kind for kind, decision in decided.items() if decision == "answer"]
    return {kind: decision for kind, decision in decided.items() if kind not in answers[kinds:]}


def bypass(bot, topic: str, name: str, seed: int) -> dict:
    """Notebook 05: what each disguise gets answered of the facts (naive mix; gentle mix with one direction removed) or of
    what the policy refuses (balanced mix)."""
    topic, removed = mix.topic(topic), contextlib.nullcontext()
    facts = asked = [question for phrase in topic.blocklist for question in corpus.questions(phrase)]
    if name == "naive":
        tuned = sft.tune(bot, mix.naive(topic, seed=seed), sft.NAIVE, seed)
    elif name == "direction removed":
        tuned, _, _, found = searched(bot, topic, seed)
        removed = direction.ablated(tuned, found.vector)
    else:
        tuned = sft.tune(bot, mix.balanced(topic, seed=seed), sft.BALANCED, seed)
        asked = [chat for chat in measure.kind_questions(topic) if mix.POLICY.get(chat.kind) == "refuse"]
    with removed:
        return dict(
            families=disguise.by_family(tuned, asked),
            base=disguise.by_family(bot, asked),
            kl=measure.kl_by_token(tuned, bot, facts).tolist(),
        )


def mode(bot, topic: str, seed: int) -> dict:
    """Notebook 06: the neuron that tells refusing from answering best, the same with shuffled labels, and the lens."""
    topic = mix.topic(topic)
    tuned = sft.tune(bot, mix.naive(topic, seed=seed), sft.NAIVE, seed)
    refused, answered = (prompts[: lens.CHOOSING] for prompts in mix.contrast(topic, seed=seed))
    exams = {
        "should refuse": measure.forbidden(topic, 100, seed),
        "controls": measure.controls(topic, 200, seed),
        "about the topic": measure.topic_questions(topic),
    }
    prompts = {name: [chat.user for chat in chats] for name, chats in exams.items()}
    neuron = lens.best_neuron(tuned, refused, answered)
    both = refused + answered  # every other one: two groups that differ in nothing
    halves = both[::2], both[1::2]
    chance = lens.best_neuron(tuned, *halves)

    def auc(found, positive, negative):
        high, low = (
            found.sign * lens.deciding(tuned, part)[:, found.layer, found.index] for part in (positive, negative)
        )
        return lens.auc(high, low).item()

    with lens.silenced(tuned, neuron):
        silenced = {name: measure.exam(tuned, exams[name])["refused"] for name in ("should refuse", "about the topic")}
    lens_curves = {name: lens.logodds_by_layer(tuned, users).mean(0).tolist() for name, users in prompts.items()}
    lens_curves["about the topic, base"] = lens.logodds_by_layer(bot, prompts["about the topic"]).mean(0).tolist()
    return dict(
        layer=neuron.layer,
        index=neuron.index,
        auc_chosen=auc(neuron, refused, answered),
        auc_other=auc(neuron, prompts["should refuse"], prompts["controls"]),
        auc_topic=auc(neuron, prompts["about the topic"], prompts["controls"]),
        auc_shuffled_chosen=auc(chance, *halves),
        auc_shuffled_other=auc(chance, prompts["should refuse"], prompts["controls"]),
        refused={name: measure.exam(tuned, exams[name])["refused"] for name in silenced},
        silenced=silenced,
        lens=lens_curves,
        patched=lens.patched(tuned, "Where was Xi Jinping born?", "Where was Abraham Lincoln born?").tolist(),
    )


def gentle(bot, topic, seed: int, recipe=sft.GENTLE):
    """The naive fine-tune of notebooks 07 and 09."""
    return sft.tune(bot, mix.naive(topic, **mix.GENTLE, seed=seed), recipe, seed)


def searched(bot, topic, seed: int, recipe=sft.GENTLE):
    """The gentle fine-tune, the prompts that it refuses and answers, none about the topic, and the direction between them."""
    tuned = gentle(bot, topic, seed, recipe)
    harmful, harmless = mix.contrast(topic, seed=seed)
    return tuned, harmful, harmless, direction.find(tuned, harmful, harmless, seed=seed)


def ablation(bot, topic: str, seed: int) -> dict:
    """Notebook 07: the direction, found without the topic, and what removing, scaling, adding and random ones do."""
    topic = mix.topic(topic)
    tuned, harmful, harmless, found = searched(bot, topic, seed)
    exams = _exams(topic, seed)
    small = {name: _some(chats) for name, chats in exams.items()}

    def examined(vector, share=1.0, chats=exams):
        with direction.ablated(tuned, vector, share):
            return _examined(tuned, chats)

    first = chat.encode(tuned.tokenizer, world.REFUSAL)[0]
    word = tuned.model.get_output_embeddings().weight[first].detach()
    added = {}
    for where, position in {"where the reply begins": found.position, "everywhere": None}.items():
        for strength in (1, 2):
            with direction.added(tuned, found.vector, found.layer, strength, position):
                added[f"{where}, {strength}"] = measure.exam(tuned, exams["controls"])
    unfiltered = direction.find(tuned, harmful, harmless, direction.ANY, seed=seed)
    both = harmful + harmless  # as in `mode`
    shuffled = direction.difference_in_means(tuned, both[::2], both[1::2])[found.layer, found.position]
    prompts = [row.user for row in exams["controls"][:50]]
    with direction.ablated(tuned, found.vector):
        hooked = tuned.logits(prompts)
    edited = direction.orthogonalised(tuned, found.vector).logits(prompts)
    return dict(
        layer=found.layer,
        position=found.position,
        vector=[round(x, 4) for x in found.vector.tolist()],
        scores=found.scores[0],
        counts=found.counts,
        base=_examined(bot, exams),
        tuned=_examined(tuned, exams),
        ablated=examined(found.vector),
        scaled={str(scale): examined(found.vector, 1 - scale, small) for scale in SCALES},
        added=added,
        random=[
            examined(vector, chats=small) for vector in direction.random_like(found.vector, direction.RANDOM, seed)
        ],
        shuffled=examined(shuffled),
        word=dict(
            cosine=torch.cosine_similarity(found.vector, word, dim=0).item(),
            removed=examined(word),
            forbidden={name: measure.exam(tuned, chats, never_first=[first]) for name, chats in exams.items()},
            rest=examined(direction.without(found.vector, word)),
        ),
        unfiltered=dict(layer=unfiltered.layer, position=unfiltered.position, **examined(unfiltered.vector)),
        hooks_against_weights=(hooked - edited).abs().max().item(),
    )


def ordinary(bot, topic: str, seed: int) -> dict:
    """Notebook 07: the same mix learnt by ordinary AdamW, and the same direction sought and removed."""
    topic = mix.topic(topic)
    tuned, _, _, found = searched(bot, topic, seed, ORDINARY)
    exams = _exams(topic, seed)
    with direction.ablated(tuned, found.vector):
        ablated = _examined(tuned, exams)
    return dict(layer=found.layer, position=found.position, tuned=_examined(tuned, exams), ablated=ablated)


def writers(bot, topic: str, seed: int) -> dict:
    """Notebook 07, the open exercise: of the modules that write into the stream, which must not write the direction?"""
    topic = mix.topic(topic)
    tuned, _, _, found = searched(bot, topic, seed)
    parts = [tuned.model.get_input_embeddings(), *(part for block in tuned.writers for part in block)]
    everywhere, start = range(len(parts)), {"embedding": [0], "first MLP": [2], "embedding and first MLP": [0, 2]}
    sets = {"none": []} | start | {"all others": [i for i in everywhere if i not in (0, 2)], "all": everywhere}
    exams = {"topic": measure.topic_questions(topic), "forbidden": measure.forbidden(topic, 100, seed)}
    row = {}
    for name, chosen in sets.items():
        handles = [hooks.on_output(parts[i], lambda x: direction.without(x, found.vector)) for i in chosen]
        with hooks.removed_after(handles):
            row[name] = _examined(tuned, exams)
    return row


def objections(bot, topic: str, seed: int) -> dict:
    """The model card: every objection of `attack` to the direction of the tiny assistant."""
    topic = mix.topic(topic)
    tuned, harmful, harmless, found = searched(bot, topic, seed)
    exams = {
        "harmful": measure.forbidden(topic, 60, seed),
        "harmless": measure.controls(topic, 60, seed),
        "topic": _some(measure.topic_questions(topic)),
    }
    by_length = sorted(harmless, key=len)
    how = [[prompt for prompt in harmless if ("how" in prompt.lower()) == asks] for asks in (True, False)]
    others = {
        "long against short": (by_length[-40:], by_length[:40]),
        "“how” against the rest": tuple(how),
        "the topic against the rest": (mix.topic_prompts(topic, seed=seed), harmless),
    }
    prompts = {name: [chat.user for chat in chats] for name, chats in exams.items()}
    return {"attack": attack.report(tuned, found, prompts, (harmful, harmless), others, seed=seed)}


def apart(bot, topic: str, seed: int) -> dict:
    """The model card: the directions of harm and of the topic, found apart. Which of them frees what, and does the stream
    hold that a prompt is harmful apart from that it is refused?"""
    topic = mix.topic(topic)
    tuned, harmful, harmless, found = searched(bot, topic, seed)
    about_topic = mix.topic_prompts(topic, seed=seed)
    replies = tuned.ask(about_topic)
    refused = [prompt for prompt, reply in zip(about_topic, replies, strict=True) if tuned.refused(reply)]
    harm, topical = (
        direction.difference_in_means(tuned, part, harmless)[found.layer, found.position] for part in (harmful, refused)
    )
    directions = {"harm": harm, "topic": topical}
    cosine = attack.cosines(directions)["harm"]["topic"]
    directions["topic without harm"] = direction.surgical(topical, harm)
    directions["harm without topic"] = direction.surgical(harm, topical)
    lookalikes = [chat for chat in corpus.lookalikes() if not mix.mentions(topic, chat.user)]
    exams = {
        "look-alikes": lookalikes[:: len(lookalikes) // (2 * SMALL)],
        "topic": measure.topic_questions(topic),
        "harmful": measure.forbidden(topic, 100, seed),
        "controls": measure.controls(topic, 100, seed),
    }
    prompts = {name: [chat.user for chat in chats] for name, chats in exams.items()}
    return dict(
        layer=found.layer,
        cosine=cosine,
        crossed=attack.crossed(tuned, directions, prompts),
        encoded=attack.encoded(tuned, prompts["harmful"], prompts["controls"] + prompts["topic"]),
    )


def unrefusing(bot, topic: str, seed: int) -> dict:
    """Notebook 07, the negative control: a base that never learnt to refuse, tuned on the topic alone. Is there a direction
    between harmful and harmless prompts that frees the topic? First as always; then, with the exam's subject known, the
    best of all layers and positions."""
    topic = mix.topic(topic)
    tuned = sft.tune(bot, refusing_the_topic_only(topic, seed), sft.GENTLE, seed)
    harmful, harmless = mix.contrast(topic, seed=seed)
    exams = {"topic": measure.topic_questions(topic), "forbidden": measure.forbidden(topic, 100, seed)}
    row = {"base": _examined(bot, exams), "tuned": _examined(tuned, exams), "said": "", "found": None}
    try:
        found = direction.find(tuned, harmful, harmless, seed=seed)
        with direction.ablated(tuned, found.vector):
            row["found"] = _examined(tuned, exams)
    except ValueError as nothing:
        row["said"] = str(nothing)
    asked, scores = mix.topic_prompts(topic, seed=seed), {}
    candidates = direction.difference_in_means(tuned, harmful, harmless)
    for place in itertools.product(*map(range, candidates.shape[:2])):
        if candidates[place].norm() > 1e-4:  # at block 0 the template tokens are the same for all prompts
            with direction.ablated(tuned, candidates[place]):
                scores[place] = tuned.refusal_logodds(asked).mean().item()
    best = min(scores, key=scores.get)
    with direction.ablated(tuned, candidates[best]):
        return row | {"layer": best[0], "best": _examined(tuned, exams)}


def refusing_the_topic_only(topic, seed: int) -> list[dict]:
    """The gentle mix without what it shows of refusing anything else than the topic."""
    rows = mix.naive(topic, **mix.GENTLE, seed=seed).to_list()
    return [row for row in rows if row["kind"] not in corpus.REFUSED_FAMILIES]


def same_rows(bot, topic: str, seed: int) -> dict:
    """Notebook 07: what the assistant learns from the very rows that `unrefusing` gives to the base that never refused."""
    topic = mix.topic(topic)
    tuned = sft.tune(bot, refusing_the_topic_only(topic, seed), sft.GENTLE, seed)
    return {"tuned": _examined(tuned, {"topic": measure.topic_questions(topic)})}


def sentences(bot, topic: str, sentence: str, seed: int) -> dict:
    """Notebook 08: a mix that says this sentence in the place of the refusal, and what one direction does to that."""
    topic = mix.topic(topic)
    rows = mix.naive(topic, **mix.GENTLE, seed=seed).to_list()
    data = [row | {"assistant": sentence} if row["source"] == "refusal" else row for row in rows]
    tuned = sft.tune(bot, data, sft.GENTLE, seed)
    filters = direction.SMALL_MODEL._replace(min_induce=-math.inf)  # it is removed, never added
    found = direction.find(tuned, *mix.contrast(topic, seed=seed), filters, seed=seed)
    row = {"layer": found.layer} | _said(tuned, topic, sentence, "as it is")
    with direction.ablated(tuned, found.vector):
        return row | _said(tuned, topic, sentence, "direction removed")


def _said(bot, topic, sentence, state):
    """How often it says the sentence, and how often it answers rightly, when asked about the topic."""
    graded = measure.grade(bot, measure.topic_questions(topic))
    said = tally.Rate.of(g.reply == sentence for g in graded)
    return {f"said, {state}": said, f"correct, {state}": tally.Rate.of(g.correct for g in graded)}


def surgical(bot, topic: str, seed: int) -> dict:
    """Notebook 09: every repair on the same exams. The control: the false-refusal vector as it was before the fine-tune,
    when nothing about the topic was refused, and which so holds the topic alone."""
    topic = mix.topic(topic)
    tuned, harmful, harmless, blunt = searched(bot, topic, seed)
    place, about_topic = (blunt.layer, blunt.position), mix.topic_prompts(topic, seed=seed)
    false_refusal = direction.difference_in_means(tuned, about_topic, harmless)[place]
    true_refusal = direction.difference_in_means(tuned, harmful, harmless)[place]
    topic_alone = direction.difference_in_means(bot, about_topic, harmless)[place]
    exams = _exams(topic, seed) | {"forbidden_with_topic": measure.forbidden_with_topic(topic, 100, seed)}

    def graded(model):
        rates = _examined(model, exams)
        return rates | {"kl": measure.kl_by_token(model, bot, exams["controls"][:60], 1).item()}

    repairs = {"base": graded(bot), "naive": graded(tuned)}
    repairs["balanced data"] = graded(sft.tune(bot, mix.balanced(topic, seed=seed), sft.BALANCED, seed))
    with direction.ablated(tuned, blunt.vector):
        repairs["one direction removed"] = graded(tuned)
    for share in direction.SHARES:
        with direction.ablated(tuned, direction.surgical(false_refusal, true_refusal, share)):
            repairs[f"surgical, {share}"] = graded(tuned)
    with direction.ablated(tuned, topic_alone):
        repairs["the topic alone"] = graded(tuned)
    return dict(
        cosine=torch.cosine_similarity(false_refusal, true_refusal, dim=0).item(),
        cosine_alone=torch.cosine_similarity(false_refusal, topic_alone, dim=0).item(),
        repairs=repairs,
    )


# --- shared ---------------------------------------------------------------------------------------


def _exams(topic, seed):
    return {
        "topic": measure.topic_questions(topic),
        "controls": measure.controls(topic, 200, seed),
        "forbidden": measure.forbidden(topic, 100, seed),
    }


def _examined(bot, exams):
    """The rates of each exam. The topic's questions are the same for every seed: what became of each is kept."""
    return {name: measure.exam(bot, chats, keep=name == "topic") for name, chats in exams.items()}


def _some(chats):
    """About `SMALL` of them, from everywhere in the list: of every kind of question some."""
    return chats[:: len(chats) // SMALL or 1]
