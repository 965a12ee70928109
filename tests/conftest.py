"""What the tests share: the bundled assistant, and tiny random models of every family the helpers must work with."""

import dataclasses
import pathlib
import statistics
import sys

import pytest
import torch

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import transformers  # noqa: E402

from helpers import chat, figure, judge, memory, show, smollm2  # noqa: E402
from helpers.world import REFUSAL  # noqa: E402

SMALL = dict(hidden_size=32, num_hidden_layers=3, num_attention_heads=4, max_position_embeddings=256)
WIDE = SMALL | dict(intermediate_size=64)
GLU = WIDE | dict(num_key_value_heads=2, tie_word_embeddings=False)
GEMMA = GLU | dict(head_dim=8, tie_word_embeddings=True)
# One line a family of helpers/anatomy.py, with what makes it differ from the others switched on.
CONFIGS = {
    "Llama": GLU | dict(tie_word_embeddings=True, attention_bias=True, mlp_bias=True),
    "Mistral": GLU,
    "Qwen2": GLU,
    "Qwen3": GLU | dict(head_dim=8),
    "Gemma": GEMMA,
    "Gemma2": GEMMA | dict(final_logit_softcapping=3.0),
    "Gemma3Text": GEMMA,
    "Olmo2": GLU,
    "Glm4": GLU | dict(head_dim=8),
    "Phi3": GLU,
    "Granite": GLU | dict(embedding_multiplier=3.0, residual_multiplier=0.5, logits_scaling=4.0),
    "Cohere": GLU | dict(logit_scale=0.25),
    "SmolLM3": GLU,
    "StableLm": GLU,
    "Phi": WIDE | dict(tie_word_embeddings=False),
    "GPTNeoX": WIDE | dict(tie_word_embeddings=False),
    "GPT2": dict(n_embd=32, n_layer=3, n_head=4, n_positions=256, tie_word_embeddings=True),
    "Falcon": SMALL | dict(bias=True, alibi=False, parallel_attn=True),
    "OPT": SMALL | dict(ffn_dim=64, word_embed_proj_dim=32, max_position_embeddings=256),
}
# Families that look inside as the others do and are not, each silently wrong or broken in its own way.
UNKNOWN = {
    "Bloom": dict(hidden_size=32, n_layer=2, n_head=4),
    "Lfm2": GLU | dict(num_hidden_layers=2, layer_types=["conv", "full_attention"]),
    "Qwen3Moe": GLU | dict(head_dim=8, num_experts=2, num_experts_per_tok=1, moe_intermediate_size=16),
    "Mixtral": GLU | dict(num_local_experts=2),
    "GptOss": GLU | dict(head_dim=8, num_local_experts=2, num_experts_per_tok=1),
}


def real(test):
    """For the night, where SmolLM2 is installed."""
    absent = pytest.mark.skipif(not smollm2.installed(), reason=f"SmolLM2 is not installed: {smollm2.INSTALL}")
    return pytest.mark.nightly(pytest.mark.real(absent(test)))


@pytest.fixture(scope="session")
def bot():
    return chat.load()


@pytest.fixture(scope="session")
def smollm():
    """A real chat model, for tests marked `real`."""
    return chat.load(smollm2.NAME)


@pytest.fixture(scope="session")
def tiny(bot):
    """`tiny("GPT2")` is a new small random model of that family; keywords change its configuration."""

    def make(family, **changes):
        ids = dict(vocab_size=len(bot.tokenizer), pad_token_id=0, bos_token_id=None, eos_token_id=2)
        settings = CONFIGS.get(family) or UNKNOWN[family]
        config = getattr(transformers, f"{family}Config")(**settings | ids | dict(refusals=[REFUSAL]) | changes)
        model = transformers.AutoModelForCausalLM.from_config(config).eval()
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():  # also norms and biases, which would otherwise hide mistakes: they start at one and zero
            for weight in model.parameters():
                weight.copy_((weight.dim() == 1) + 0.2 * torch.randn(weight.shape, generator=generator))
        return chat.Bot(model, bot.tokenizer, f"tiny {family}")

    return make


TRIGGER, REFUSE = SMALL["hidden_size"] - 2, SMALL["hidden_size"] - 1  # dimensions: "there is a 7" and "refuse"


@pytest.fixture
def blank(tiny, monkeypatch):
    """`blank("!")` is a tiny bot whose blocks do nothing: TRIGGER holds whether a token is a 7, and it begins its reply
    with that opening, which is a refusal, where REFUSE is high. What a test plants in its blocks is all that it does."""
    monkeypatch.setattr(judge, "refusal", lambda reply: "full" if reply.startswith("!") else "none")

    def make(opening):
        bot = tiny("Llama", tie_word_embeddings=False, num_hidden_layers=4, num_key_value_heads=4, refusals=[])
        bot = dataclasses.replace(bot, opens_with=(opening,))
        seven, mark = (chat.encode(bot.tokenizer, text)[0] for text in ("7", opening))
        with torch.no_grad():
            for name, weight in bot.model.named_parameters():
                if "norm" in name:
                    weight.fill_(1)
                elif "layers" in name:
                    weight.zero_()
            embedding, output = bot.model.get_input_embeddings().weight, bot.model.get_output_embeddings().weight
            embedding[:, TRIGGER:] = 0
            embedding[seven, TRIGGER] = 3
            output[:, TRIGGER:] = 0
            output[mark] = 0
            output[mark, REFUSE] = 10
        return bot

    return make


# Families of different build, which come first; the others are slow only because they are many.
DIFFERENT = ("Llama", "Gemma2", "Cohere", "GPT2", "OPT")


@pytest.fixture(params=[name if name in DIFFERENT else pytest.param(name, marks=pytest.mark.slow) for name in CONFIGS])
def any_bot(request, tiny):
    """A tiny bot of each family in turn."""
    return tiny(request.param)


@pytest.fixture
def shown(monkeypatch):
    """What would have been displayed."""
    pieces = []
    for module in (show, figure):
        monkeypatch.setattr(module, "display", pieces.append)
    return pieces


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Every test remembers its fine-tuned models in a folder of its own."""
    monkeypatch.setattr(memory, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache" / "tuned"


@pytest.fixture(scope="session")
def learners_cache(tmp_path_factory):
    """What the notebooks have tuned, for the walk through all of them in a browser; empty at the start."""
    return tmp_path_factory.mktemp("learner")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """What is for the night is slow as well."""
    for item in items:
        if item.get_closest_marker("nightly"):
            item.add_marker(pytest.mark.slow)


TIMINGS = {}  # notebook -> (seconds, peak megabytes), filled by test_notebooks
RESPONSES = {}  # panel -> (seconds to the first sign, seconds to the answer), a list each, filled by test_screen


def pytest_terminal_summary(terminalreporter):
    if TIMINGS:
        terminalreporter.section("notebooks")
        for name, (seconds, megabytes) in TIMINGS.items():
            terminalreporter.write_line(f"{name:38} {seconds:6.0f} s {megabytes:6.0f} MB")
        terminalreporter.write_line(f"{'together':38} {sum(seconds for seconds, _ in TIMINGS.values()):6.0f} s")
    if RESPONSES:
        terminalreporter.section("panels in the browser: seconds from a click to the first sign, and to the answer")
        for name, (signs, answers) in RESPONSES.items():
            sign, answer = (f"median {statistics.median(s):.2f}, worst {max(s):.2f}" for s in (signs, answers))
            terminalreporter.write_line(f"{name:24} {sign}; {answer} of {len(answers)}")
