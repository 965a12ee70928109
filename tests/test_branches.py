import dataclasses

import pytest
import torch

from helpers import anatomy, branches, chat, direction, hooks

PROMPTS = ["Hi", "Where was Marie Curie born?", "What is 2 plus 3? " * 3]
REPLIES = ["I'm sorry, but", "I'm sorry for", "I cannot", "No", "I'm sorry, and"]


def close(first, second, atol=1e-4):
    torch.testing.assert_close(first, second, atol=atol, rtol=0)


# --- the tree -------------------------------------------------------------------------------------


def test_a_tree_holds_what_stands_before_each_token_once():
    assert branches.tree([[5, 6, 7], [5, 6, 8], [9, 4]]) == [(), (5,), (9,), (5, 6)]


def test_a_reply_of_one_token_needs_the_prompt_alone():
    assert branches.tree([[5]]) == branches.tree([[5], [6]]) == [()]


@pytest.mark.parametrize(
    "nodes, expected",
    [([()], True), ([(), (5,), (5, 6)], True), ([(), (5,), (6,)], False), ([(), (5,), (6,), (5, 7)], False)],
)
def test_a_chain_has_one_branch(nodes, expected):
    assert branches.chain(nodes) is expected


def batch(*lengths):
    longest = max(lengths)
    mask = torch.tensor([[0] * (longest - n) + [1] * n for n in lengths])
    return {
        "input_ids": mask * 3,
        "attention_mask": mask,
        "position_ids": (mask.cumsum(1) - 1).clamp(min=0),
    }


def test_a_branch_sees_the_prompt_and_itself_and_padding_is_seen_by_nobody():
    found = branches.behind(batch(2, 1), [(), (5,), (6,), (5, 7)])
    assert found["input_ids"].tolist() == [[3, 3, 5, 6, 7], [0, 3, 5, 6, 7]]
    assert found["position_ids"].tolist() == [[0, 1, 2, 2, 3], [0, 0, 1, 1, 2]]
    seen = (found["attention_mask"][:, 0] == 0).int().tolist()
    assert seen[0] == [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 0, 1, 0], [1, 1, 1, 0, 1]]
    assert seen[1] == [[0, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 1, 1, 0, 0], [0, 1, 0, 1, 0], [0, 1, 1, 0, 1]]


def test_tokens_that_have_been_read_before_are_seen_and_counted():
    found = branches.behind(batch(2), [(), (5,), (6,)], head=2)
    assert found["input_ids"].tolist() == [[3, 3, 5, 6]] and found["position_ids"].tolist() == [[2, 3, 4, 4]]
    seen = (found["attention_mask"][0, 0] == 0).int().tolist()
    assert seen == [[1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 0, 1]]


# --- what the bot makes of it ---------------------------------------------------------------------


@torch.no_grad()
def one_by_one(bot):
    """Each reply behind each prompt, in a pass of its own and without any padding: (reply, prompt)."""
    found = []
    for reply in REPLIES:
        ids = chat.encode(bot.tokenizer, reply)
        for prompt in PROMPTS:
            before = chat.encode(bot.tokenizer, chat.prompt_text(bot.tokenizer, prompt))
            log_p = bot.model(torch.tensor([before + ids])).logits[0, len(before) - 1 : -1].log_softmax(-1)
            found.append(log_p.gather(-1, torch.tensor(ids)[:, None]).sum())
    return torch.stack(found).view(len(REPLIES), len(PROMPTS))


@pytest.mark.parametrize("shared", [False, True])
def test_replies_side_by_side_are_as_probable_as_each_by_itself(any_bot, shared):
    close(any_bot.log_probabilities(PROMPTS, REPLIES, shared), one_by_one(any_bot))


@pytest.mark.parametrize("shared", [False, True])
def test_also_while_a_direction_is_missing_or_added(any_bot, shared):
    vector = torch.randn(32, generator=torch.Generator().manual_seed(2))
    for change in (direction.ablated(any_bot, vector), direction.added(any_bot, vector, 1)):
        with change:
            close(any_bot.log_probabilities(PROMPTS, REPLIES, shared), one_by_one(any_bot))


def test_a_position_of_the_prompt_stays_where_it_is_with_many_branches(tiny):
    bot = tiny("Llama")
    with direction.added(bot, torch.ones(32), 1, position=-2):
        close(bot.log_probabilities(PROMPTS, REPLIES), one_by_one(bot))


def calls(bot, look):
    """The shapes of the token ids that the model reads."""
    shapes = []
    note = hooks.noting_input(bot.model.get_input_embeddings(), lambda ids: shapes.append(tuple(ids.shape)))
    with hooks.removed_after([note]):
        look()
    return shapes


def test_many_openings_take_one_pass(tiny):
    bot = dataclasses.replace(tiny("Llama"), opens_with=tuple(REPLIES))
    ((rows, _),) = calls(bot, lambda: bot.refusal_logodds(PROMPTS))
    assert rows == len(PROMPTS)


def test_what_all_prompts_begin_with_is_read_once(tiny):
    bot = tiny("Llama")
    whole, head = calls(bot, lambda: bot.read(PROMPTS)), calls(bot, lambda: bot.read(PROMPTS, shared=True))
    assert head[0][0] == 1 and head[0][1] + head[1][1] == whole[0][1]
    assert len(calls(bot, lambda: bot.read(["Hi", "Hi"], shared=True))) == 2  # something is left to read


# Models whose mask says more than who reads whom.
ODD = {"Falcon": dict(alibi=True), "Mistral": dict(sliding_window=16), "Gemma2": dict(sliding_window=16)}


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("family", ODD)
def test_a_model_with_a_mask_of_its_own_reads_one_branch_at_a_time(tiny, family, shared):
    bot = tiny(family, **ODD[family])
    assert not anatomy.any_mask(bot.model, 40) and anatomy.any_mask(tiny(family).model, 40)
    close(bot.log_probabilities(PROMPTS, REPLIES, shared), one_by_one(bot))


# --- blocks that are known already ----------------------------------------------------------------


def test_replayed_blocks_give_what_they_gave_and_compute_nothing(any_bot):
    records, computed = [], []
    with hooks.removed_after(hooks.recording(any_bot.blocks, records)):
        before = any_bot.logits(PROMPTS)
    look = lambda x: computed.append(x)
    matrices = [matrix for pair in any_bot.writers[:2] for matrix in pair]
    with hooks.removed_after([hooks.on_output(matrix, look) for matrix in matrices]):
        with hooks.replayed(any_bot.blocks[:2], records[:2]):
            for _ in range(2):
                close(any_bot.logits(PROMPTS), before, atol=1e-5)
    assert not computed
    close(any_bot.logits(PROMPTS), before, atol=0)


def test_calls_are_replayed_in_their_order():
    part, records = torch.nn.Identity(), []
    with hooks.removed_after(hooks.recording([part], records)):
        part(torch.tensor(1)), part(torch.tensor(2))
    with hooks.replayed([part], records):
        assert [part(torch.tensor(9)).item() for _ in range(4)] == [1, 2, 1, 2]
    assert part(torch.tensor(9)).item() == 9


def test_replayed_blocks_compute_again_after_an_exception():
    part = torch.nn.Identity()
    with pytest.raises(ZeroDivisionError), hooks.replayed([part], [[torch.tensor(1)]]):
        raise ZeroDivisionError
    assert part(torch.tensor(9)).item() == 9


@pytest.mark.parametrize("family", ODD)
def test_where_no_mask_may_be_given_nothing_is_shared_either(tiny, family, monkeypatch):
    odd = tiny(family, **ODD[family])
    monkeypatch.setattr(chat, "read_once", lambda *_: pytest.fail("what stands before would need a mask"))
    prompts = ["What is the capital of Japan, and why?", "What is the capital of Japan, or was it Kyoto?"]
    close(odd.read(prompts, shared=True), odd.read(prompts))
