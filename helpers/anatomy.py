"""Where each family of models keeps its parts: the embedding, the blocks, what writes into the residual stream.

Notable:
- A family stands in the table or is refused: a guess that is nearly right gives figures that are quietly wrong.
- To add one, write its row and its line in CONFIGS of tests/conftest.py: the tests of parity then judge it.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Family(NamedTuple):
    """Names of parts; those of `writers` and `late` are looked up in a block, all others in the model without its head."""

    embeddings: tuple[str, ...]  # what starts the stream: tokens and, in old families, positions
    blocks: str
    writers: tuple[str, str]  # the matrices by which attention and MLP write into the stream
    norm: str  # what stands between the stream and the output layer
    late: tuple[str, ...] = ()  # norms between those two matrices and the stream: most families have none


LLAMA = Family(("embed_tokens",), "layers", ("self_attn.o_proj", "mlp.down_proj"), "norm")
SANDWICH = LLAMA._replace(late=("post_attention_layernorm", "post_feedforward_layernorm"))

# By the model_type of a configuration.
FAMILIES = {
    "llama": LLAMA,  # SmolLM and SmolLM2 as well
    "mistral": LLAMA,
    "qwen2": LLAMA,
    "qwen3": LLAMA,
    "gemma": LLAMA,
    "gemma2": SANDWICH,
    "gemma3_text": SANDWICH,
    "olmo2": SANDWICH,
    "glm4": LLAMA._replace(late=("post_self_attn_layernorm", "post_mlp_layernorm")),
    "phi3": LLAMA,
    "granite": LLAMA,
    "cohere": LLAMA,
    "smollm3": LLAMA,
    "stablelm": LLAMA,
    "phi": LLAMA._replace(writers=("self_attn.dense", "mlp.fc2"), norm="final_layernorm"),
    "gpt_neox": Family(("embed_in",), "layers", ("attention.dense", "mlp.dense_4h_to_h"), "final_layer_norm"),
    "gpt2": Family(("wte", "wpe"), "h", ("attn.c_proj", "mlp.c_proj"), "ln_f"),
    "falcon": Family(("word_embeddings",), "h", ("self_attention.dense", "mlp.dense_4h_to_h"), "ln_f"),
    "opt": Family(
        ("decoder.embed_tokens", "decoder.embed_positions"),
        "decoder.layers",
        ("self_attn.out_proj", "fc2"),
        "decoder.final_layer_norm",
    ),
}


def family(model) -> Family:
    """The row of a model. Raises ValueError, with the remedy, for a family that is not in the table."""
    config = model.config
    if config.model_type not in FAMILIES:
        raise ValueError(
            f"I do not know how models of the family {config.model_type!r} are built, so I cannot look inside: choose a "
            "Llama, Qwen, Gemma, Phi or another family of helpers/anatomy.py, or add a row to it."
        )
    # Some old OPTs normalise the stream itself, or have an embedding narrower than the stream.
    if config.model_type == "opt" and (
        not config.do_layer_norm_before or config.word_embed_proj_dim != config.hidden_size
    ):
        raise ValueError("This OPT model is built unlike all others, so I cannot look inside: choose another size.")
    return FAMILIES[config.model_type]


def embeddings(model) -> list[nn.Embedding]:
    """What starts the residual stream."""
    return [model.base_model.get_submodule(name) for name in family(model).embeddings]


def blocks(model) -> nn.ModuleList:
    return model.base_model.get_submodule(family(model).blocks)


def norm(model) -> nn.Module:
    """The last norm, which the output layer reads."""
    return model.base_model.get_submodule(family(model).norm)


def writers(model) -> list[list[nn.Module]]:
    """For every block the two matrices that write into the residual stream: attention's and the MLP's."""
    return [[block.get_submodule(name) for name in family(model).writers] for block in blocks(model)]


def late_norms(model) -> list[list[nn.Module]]:
    """For every block the norms between those matrices and the stream; empty lists where there are none."""
    return [[block.get_submodule(name) for name in family(model).late] for block in blocks(model)]


def unembed(model, states: Tensor) -> Tensor:
    """Logits from what the last norm gives: (..., width) -> (..., vocabulary)."""
    family(model)  # another family may scale its logits in another way
    config = model.config
    logits = model.get_output_embeddings()(states)
    scale = getattr(config, "logit_scale", 1) / getattr(config, "logits_scaling", 1)  # Cohere; Granite
    logits = logits if scale == 1 else logits * scale  # logits are many: most families need not touch them again
    cap = getattr(config, "final_logit_softcapping", None)  # Gemma
    return cap * torch.tanh(logits / cap) if cap else logits


def any_mask(model, tokens: int) -> bool:
    """May it be told which token reads which? Not where the distance of tokens is in the mask (ALiBi) or where a window
    is shorter than so many tokens: a mask of one's own would take the place of both."""
    config = model.config
    return not getattr(config, "alibi", False) and tokens <= (getattr(config, "sliding_window", None) or tokens)
