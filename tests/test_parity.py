"""The published algorithm once more, written from the paper's equations, and held against what the helpers compute.

Arditi et al., "Refusal in Language Models Is Mediated by a Single Direction" (arXiv:2406.11717). The first part knows
PyTorch and transformers and nothing of the helpers: a bare model, one prompt at a time, nothing padded, nothing shared.
"""

import contextlib
import copy
import dataclasses
import math
import random
import statistics
from typing import NamedTuple

import pytest
import torch
from conftest import real

from helpers import direction, mix

pytestmark = pytest.mark.nightly

# --- the paper, line by line ----------------------------------------------------------------------


def encoded(tokenizer, prompt, reply=""):
    """The chat template around a prompt, then the words that begin the reply: (1, token)."""
    chat = [dict(role="user", content=prompt)]
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    ids = [tokenizer(part, add_special_tokens=False)["input_ids"] for part in (text, reply)]
    return torch.tensor([ids[0] + ids[1]]), len(ids[1])


def template_end(tokenizer):
    """How many tokens the template puts after the instruction: the paper's set of positions, I."""
    text = tokenizer.apply_chat_template([dict(role="user", content="{}")], tokenize=False, add_generation_prompt=True)
    return len(tokenizer(text.split("{}")[1], add_special_tokens=False)["input_ids"])


@torch.no_grad()
def mean_activations(model, tokenizer, prompts):
    """The mean input of every block at those positions: (layer, position, width). Equation 1."""
    total = 0
    for prompt in prompts:
        states = model(encoded(tokenizer, prompt)[0], output_hidden_states=True).hidden_states[:-1]
        total = total + torch.cat(states)[:, -template_end(tokenizer) :]
    return total / len(prompts)


def differences(model, tokenizer, harmful, harmless):
    """Equation 2."""
    return mean_activations(model, tokenizer, harmful) - mean_activations(model, tokenizer, harmless)


@contextlib.contextmanager
def hooked(*handles):
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def activation_addition(model, r, layer):
    """Equation 3: the vector is added to the input of one block, at every position."""
    with hooked(model.model.layers[layer].register_forward_pre_hook(lambda m, args: (args[0] + r, *args[1:]))):
        yield


@contextlib.contextmanager
def directional_ablation(model, r, places=("input", "attention", "mlp")):
    """Equation 4: what lies along the vector is taken out of the stream wherever it may have come in."""
    r = r / r.norm()
    out = lambda x: x - (x * r).sum(-1, keepdim=True) * r
    handles = []
    for block in model.model.layers:
        if "input" in places:
            handles.append(block.register_forward_pre_hook(lambda m, args: (out(args[0]), *args[1:])))
        if "attention" in places:
            handles.append(block.self_attn.register_forward_hook(lambda m, args, given: (out(given[0]), *given[1:])))
        if "mlp" in places:
            handles.append(block.mlp.register_forward_hook(lambda m, args, given: out(given)))
    with hooked(*handles):
        yield


@torch.no_grad()
def orthogonalised(model, r, untied=True):
    """Equation 5: W - r rᵀ W for every matrix that writes into the stream. The output layer, which reads, stays."""
    model, r = copy.deepcopy(model), r / r.norm()
    if untied:
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.clone())
    embedding = model.model.embed_tokens.weight  # here the rows are what is written
    embedding -= torch.outer(embedding @ r, r)
    for block in model.model.layers:
        for matrix in (block.self_attn.o_proj.weight, block.mlp.down_proj.weight):
            matrix -= torch.outer(r, r @ matrix)
    return model


@torch.no_grad()
def refusal_metric(model, tokenizer, prompt, openings):
    """log p / (1 - p), p being the probability of a reply that begins with one of the openings (section 2.3, where an
    opening is one token; here it is a whole sentence)."""
    each = []
    for opening in openings:
        ids, n = encoded(tokenizer, prompt, opening)
        log_p = model(ids).logits[0, -n - 1 : -1].double().log_softmax(-1)
        each.append(sum(log_p[i, ids[0, i - n]] for i in range(n)))
    p = torch.stack(each).logsumexp(0).exp().item()
    return math.log(p) - math.log1p(-p)


@torch.no_grad()
def last_logits(model, tokenizer, prompts):
    """What is said of the next token after each prompt: (prompt, vocabulary)."""
    return torch.stack([model(encoded(tokenizer, prompt)[0]).logits[0, -1] for prompt in prompts])


def three_scores(model, tokenizer, r, layer, harmful, harmless, openings):
    """bypass, induce and kl of one candidate. Section 2.3 and appendix C."""
    mean = lambda numbers: sum(numbers) / len(numbers)
    before = last_logits(model, tokenizer, harmless).log_softmax(-1)
    with directional_ablation(model, r):
        bypass = mean([refusal_metric(model, tokenizer, prompt, openings) for prompt in harmful])
        after = last_logits(model, tokenizer, harmless).log_softmax(-1)
    with activation_addition(model, r, layer):
        induce = mean([refusal_metric(model, tokenizer, prompt, openings) for prompt in harmless])
    kl = (before.exp() * (before - after)).sum(-1).mean().item()
    return bypass, induce, kl


def select(scores, layers, prune, max_kl, min_induce):
    """The places that induce refusal, leave the harmless alone and lie early enough; the lowest bypass, which wins,
    first."""
    fit = [
        place
        for place, (bypass, induce, kl) in scores.items()
        if induce >= min_induce and kl <= max_kl and place[0] < layers - round(prune * layers)
    ]
    return sorted(fit, key=lambda place: scores[place][0])


# The split is find's own: prompts that are not treated as expected drop out, the shuffled rest begins with those that
# choose among the candidates.


@torch.no_grad()
def split(model, tokenizer, prompts, refused, choosing, seed=0):
    kept = []
    for prompt in prompts:
        ids, _ = encoded(tokenizer, prompt)
        written = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=40)
        reply = tokenizer.decode(written[0, ids.shape[1] :], skip_special_tokens=True)
        if reply.startswith(tuple(model.config.refusals)) == refused:
            kept.append(prompt)
    shuffled = random.Random(seed).sample(kept, len(kept))
    return shuffled[:choosing], shuffled[choosing:]


# --- the bundled assistant ------------------------------------------------------------------------

SINGLE = 1e-4  # how far numbers in single precision may be apart
DOUBLE = 1e-6  # in double precision: the model's norms still round to single
CHOOSING = 2
KEYS = ("bypass", "induce", "kl")


def apart(first, second):
    return (first - second).abs().max().item()


def by_place(rows):
    return {(row["layer"], row["position"]): tuple(row[key] for key in KEYS) for row in rows}


@pytest.fixture(scope="module")
def prompts():
    """Harmful and harmless; the last of each list does not belong there."""
    harmful, harmless = mix.contrast(mix.topic("xi-jinping"), 5)
    return [*harmful[:4], harmless[4]], [*harmless[:4], harmful[4]]


@pytest.fixture(scope="module")
def exact(bot):
    """The assistant in double precision: a refusal that is all but sure has log-odds that single precision blurs."""
    return dataclasses.replace(bot, model=copy.deepcopy(bot.model).double())


class Published(NamedTuple):
    vectors: torch.Tensor  # (layer, position, width)
    scores: dict  # (layer, position) -> bypass, induce, kl
    choosing: tuple  # the prompts that choose: harmful, harmless


@pytest.fixture(scope="module")
def published(exact, prompts):
    """What the paper's algorithm makes of the assistant."""
    model, tokenizer = exact.model, exact.tokenizer
    harmful, defining = split(model, tokenizer, prompts[0], True, CHOOSING)
    harmless, answered = split(model, tokenizer, prompts[1], False, CHOOSING)
    vectors = differences(model, tokenizer, defining, answered)
    assert vectors[0].abs().max() < DOUBLE, "before the first block the template is the same in all prompts"
    scores = {}
    for layer in range(1, len(vectors)):
        for position in range(-vectors.shape[1], 0):
            r = vectors[layer, position]
            scores[layer, position] = three_scores(model, tokenizer, r, layer, harmful, harmless, model.config.refusals)
    return Published(vectors, scores, (harmful, harmless))


def test_the_difference_in_means_is_the_published_one(bot, prompts):
    ours = direction.difference_in_means(bot, *prompts)
    assert apart(ours, differences(bot.model, bot.tokenizer, *prompts)) < SINGLE


def test_the_search_finds_the_published_vector_with_the_published_scores(exact, prompts, published):
    found = direction.find(exact, *prompts, direction.ANY, validation=CHOOSING)
    ours = by_place(found.scores)
    assert ours.keys() == published.scores.keys()
    for place, (bypass, induce, kl) in published.scores.items():
        assert ours[place][:2] == pytest.approx((bypass, induce), abs=DOUBLE, rel=0), place
        assert ours[place][2] == pytest.approx(kl, abs=1e-9, rel=1e-4), (
            place
        )  # the assistant hardly moves: nats of 1e-6
    best = select(published.scores, len(published.vectors), *direction.ANY)[0]
    assert (found.layer, found.position) == best
    assert apart(found.vector, published.vectors[best]) < DOUBLE


@pytest.mark.parametrize("pruned, some_kl, some_induce", [(0.2, False, False), (0, True, False), (0, False, True)])
def test_the_filters_keep_the_published_candidates(exact, prompts, published, pruned, some_kl, some_induce):
    """Each filter in turn, drawn through the middle of the scores."""
    positions = (-1, -6)
    scores = {place: row for place, row in published.scores.items() if place[1] in positions}
    _, induce, kl = map(statistics.median, zip(*scores.values(), strict=True))
    filters = direction.Filters(pruned, kl if some_kl else math.inf, induce if some_induce else -math.inf)
    found = direction.find(exact, *prompts, filters, CHOOSING, positions=positions)
    kept = select(scores, len(published.vectors), *filters)
    assert 0 < len(kept) < len(scores)
    assert list(by_place(row for row in found.scores if row["kept"])) == kept
    assert (found.layer, found.position) == kept[0]


def test_in_single_precision_the_search_finds_the_same(bot, prompts, published):
    found = direction.find(bot, *prompts, direction.ANY, validation=CHOOSING)
    best = select(published.scores, len(published.vectors), *direction.ANY)[0]
    assert (found.layer, found.position) == best
    assert apart(found.vector, published.vectors[best]) < SINGLE
    for place, (bypass, induce, kl) in by_place(found.scores).items():
        expected = published.scores[place]
        assert (induce, kl) == pytest.approx(expected[1:], abs=SINGLE, rel=0), place
        # log p is good to 1e-6. Where a refusal is all but sure, the log-odds magnify that by 1 / (1 - p).
        assert bypass == pytest.approx(expected[0], abs=SINGLE + 1e-5 * math.exp(expected[0]), rel=0), place


def test_hooks_and_edited_weights_give_the_logits_of_the_published_ones(bot, prompts):
    """A single test for four ways: ours and the paper's, each with hooks and with weights."""
    r, some = differences(bot.model, bot.tokenizer, *prompts)[3, -1], sum(prompts, [])
    with direction.ablated(bot, r):
        hooked = bot.logits(some)
    with directional_ablation(bot.model, r):
        assert apart(hooked, last_logits(bot.model, bot.tokenizer, some)) < SINGLE
    wanted = last_logits(orthogonalised(bot.model, r), bot.tokenizer, some)
    assert apart(direction.orthogonalised(bot, r).logits(some), wanted) < SINGLE
    assert apart(hooked, wanted) < SINGLE


# --- the same for a real model --------------------------------------------------------------------

# Its logits reach 32, of which single precision keeps 4e-6, and thirty blocks each round: 6e-5 was measured.
REAL = 2e-4
PLACES = [(8, -1), (15, -3), (22, -1), (26, -2)]


@pytest.fixture(scope="module")
def real_prompts():
    harmful, harmless = mix.contrast(mix.topic("xi-jinping"), 4)
    return harmful, harmless


@pytest.fixture(scope="module")
def real_vectors(smollm, real_prompts):
    return differences(smollm.model, smollm.tokenizer, *real_prompts)


@real
def test_the_differences_in_a_real_model_are_the_published_ones(smollm, real_prompts, real_vectors):
    """By the length of each: some of its residuals are thousands long, and single precision keeps seven digits."""
    ours = direction.difference_in_means(smollm, *real_prompts)
    lengths = real_vectors.norm(dim=-1)
    assert ((ours - real_vectors).norm(dim=-1) <= SINGLE * lengths).all()
    assert not lengths[0].any() and lengths[1:].all()


@real
def test_the_scores_of_a_real_model_are_the_published_ones(smollm, real_prompts, real_vectors):
    """Of a few candidates. It refuses next to nothing as it comes, so the prompts are dealt out by hand."""
    openings = ("I'm sorry", "I can't")
    chosen = [some[:2] for some in real_prompts]
    candidates = torch.zeros_like(real_vectors)  # what is zero is no candidate
    scores = {}
    for layer, position in PLACES:
        r = candidates[layer, position] = real_vectors[layer, position]
        scores[layer, position] = three_scores(smollm.model, smollm.tokenizer, r, layer, *chosen, openings)
    rows = direction._scores(dataclasses.replace(smollm, opens_with=openings), candidates, *chosen)
    ours = by_place(rows)
    assert ours.keys() == scores.keys()
    for place in PLACES:
        assert ours[place] == pytest.approx(scores[place], abs=SINGLE, rel=0), place
    # The last is pruned, and one more falls where a bound is drawn through the middle of the scores.
    _, induce, kl = map(statistics.median, zip(*scores.values(), strict=True))
    for filters in (direction.Filters(0.2, kl, -math.inf), direction.Filters(0.2, math.inf, induce)):
        kept = select(scores, len(candidates), *filters)
        passing = [row for row in rows if direction.passes(row, filters, len(candidates))]
        assert 0 < len(kept) < len(PLACES)
        assert list(by_place(sorted(passing, key=lambda row: row["bypass"]))) == kept


@real
def test_hooks_and_edited_weights_give_the_published_logits_of_a_real_model(smollm, real_prompts, real_vectors):
    r, some = real_vectors[22, -1], sum(real_prompts, [])[2:6]
    with direction.ablated(smollm, r):
        hooked = smollm.logits(some)
    with directional_ablation(smollm.model, r):
        assert apart(hooked, last_logits(smollm.model, smollm.tokenizer, some)) < REAL
    wanted = last_logits(orthogonalised(smollm.model, r), smollm.tokenizer, some)
    assert apart(direction.orthogonalised(smollm, r).logits(some), wanted) < REAL


# --- what these tests would notice ----------------------------------------------------------------

NOTICED = 1e-3
INCOMPLETE = [("input",), ("input", "mlp"), ("input", "attention"), ("attention", "mlp")]


@pytest.mark.parametrize("places", INCOMPLETE, ids=" and ".join)
def test_an_incomplete_ablation_would_be_noticed(bot, prompts, places):
    r, some = differences(bot.model, bot.tokenizer, *prompts)[3, -1], prompts[0]
    with direction.ablated(bot, r):
        hooked = bot.logits(some)
    with directional_ablation(bot.model, r, places):
        assert apart(hooked, last_logits(bot.model, bot.tokenizer, some)) > NOTICED


@real
@pytest.mark.parametrize("places", INCOMPLETE, ids=" and ".join)
def test_an_incomplete_ablation_of_a_real_model_would_be_noticed(smollm, real_prompts, real_vectors, places):
    r, some = real_vectors[22, -1], real_prompts[0][:1]
    with direction.ablated(smollm, r):
        hooked = smollm.logits(some)
    with directional_ablation(smollm.model, r, places):
        assert apart(hooked, last_logits(smollm.model, smollm.tokenizer, some)) > NOTICED


def test_an_output_layer_that_is_edited_as_well_would_be_noticed(bot, prompts):
    r, some = differences(bot.model, bot.tokenizer, *prompts)[3, -1], prompts[0]
    wrong = last_logits(orthogonalised(bot.model, r, untied=False), bot.tokenizer, some)
    assert apart(direction.orthogonalised(bot, r).logits(some), wrong) > NOTICED


def test_residuals_read_behind_a_block_would_be_noticed(bot, prompts):
    ours = direction.difference_in_means(bot, *prompts)
    theirs = differences(bot.model, bot.tokenizer, *prompts)
    assert apart(ours[1:], theirs[:-1]) > NOTICED and apart(ours[:, 1:], theirs[:, :-1]) > NOTICED


@pytest.mark.parametrize("wrong", ["block", "position", "sign", "prompts", "opening"])
def test_a_wrong_score_would_be_noticed(exact, published, wrong):
    layer, position = place = (3, -1)
    r, (harmful, harmless), openings = published.vectors[place], published.choosing, exact.model.config.refusals
    layer += wrong == "block"
    r = published.vectors[layer, position - 1] if wrong == "position" else -r if wrong == "sign" else r
    harmful, harmless = (harmless, harmful) if wrong == "prompts" else (harmful, harmless)
    openings = [text.split(",")[0] for text in openings] if wrong == "opening" else openings
    scores = three_scores(exact.model, exact.tokenizer, r, layer, harmful, harmless, openings)
    assert max(abs(a - b) for a, b in zip(scores, published.scores[place], strict=True)) > NOTICED
