"""Several begun replies behind one prompt, read in one pass: a tree of tokens whose branches do not see each other.

After Miao et al., "SpecInfer" (ASPLOS 2024, arXiv:2305.09781), who check the guesses of a small model in this way.

Notable:
- What two replies begin with stands in the tree once.
- Logits are those of one pass a reply, up to rounding.
"""

import torch
from torch import Tensor


def tree(replies) -> list[tuple[int, ...]]:
    """What has been written before some token of some reply, as token ids: first nothing, (), then one token, ..."""
    found = {tuple(ids[:n]) for ids in replies for n in range(len(ids))}
    return sorted(found, key=lambda ids: (len(ids), ids))


def chain(nodes) -> bool:
    """Is there one branch only? Then every token reads all that stand before it, as always."""
    return all(node[:-1] == before for before, node in zip(nodes, nodes[1:], strict=False))


def behind(prompts: dict[str, Tensor], nodes, head: int = 0, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """A left-padded batch of prompts with the nodes of a tree behind every prompt: what the model is given.

    `head` tokens, which all prompts begin with, have been read before and count as there. `dtype` is the model's.
    """
    ids, mask, places = (prompts[name] for name in ("input_ids", "attention_mask", "position_ids"))
    rows, device = len(ids), ids.device
    written = torch.tensor([node[-1] for node in nodes[1:]], dtype=torch.long, device=device).expand(rows, -1)
    depth = torch.tensor([len(node) for node in nodes[1:]], dtype=torch.long, device=device)
    real = torch.cat([mask.new_ones(rows, head), mask, torch.ones_like(written)], 1)
    if head or not chain(nodes):
        real = _allowed(real, nodes, head, dtype)
    return {
        "input_ids": torch.cat([ids, written], 1),
        "attention_mask": real,
        "position_ids": torch.cat([places, places[:, -1:] + depth], 1) + head,
    }


def _allowed(real, nodes, head, dtype):
    """Which token may read which, as what is added to attention's scores: (row, 1, reader, token)."""
    length, first = real.shape[1], real.shape[1] - (len(nodes) - 1)
    allowed = torch.ones(length, length, dtype=torch.bool, device=real.device).tril()
    for i, node in enumerate(nodes[1:]):
        allowed[first + i, first:] = torch.tensor([node[: len(other)] == other for other in nodes[1:]])
    allowed = allowed[head:] & real.bool()[:, None, None]
    return torch.zeros(allowed.shape, dtype=dtype, device=real.device).masked_fill(~allowed, torch.finfo(dtype).min)
