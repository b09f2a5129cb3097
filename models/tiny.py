"""Random models of a few thousand parameters, in the shapes of real families: for tests and for trying things out.

They are saved as a user's models are, and load like them. What they write is gibberish.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from selfroute.models.loading import quiet
from selfroute.models.prompt import make_prompt

FAMILIES = ("granite-hybrid", "qwen3.5", "llama")
_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_TEXT = (
    "def return self import from class the of and to in is value name file line key token context model read write\n"
)


def make_tiny(
    folder: Path, family: str = "llama", *, seed: int = 0, chat: bool = True, context_length: int = 4096
) -> Path:
    """Saves a random model and its tokenizer into a folder, and returns it. chat: with a chat template.

    granite-hybrid: two Mamba-2 and two attention layers; qwen3.5: three gated-delta layers and one of attention; llama:
    two of attention. The same arguments give the same weights. Needs the extra `transformers`.
    """
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    tokenizer = _tokenizer(chat)
    config = _config(family, len(tokenizer), context_length)
    with quiet():
        model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4.0)  # else every next token is the last one again
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    with quiet():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder


def _tokenizer(chat: bool) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=800,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator([_TEXT * 3, make_prompt((), "00000000").instructions * 3], trainer)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token=special[0], eos_token=special[2])
    if chat:
        wrapped.chat_template = _TEMPLATE
    return wrapped


def _config(family: str, vocab_size: int, context_length: int) -> Any:
    from transformers import GraniteMoeHybridConfig, LlamaConfig, Qwen3_5TextConfig

    shared: dict[str, Any] = {
        "vocab_size": vocab_size,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": context_length,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    if family == "granite-hybrid":
        return GraniteMoeHybridConfig(
            num_hidden_layers=4,
            layer_types=["mamba", "attention"] * 2,
            mamba_n_heads=4,
            mamba_d_head=16,
            mamba_d_state=8,
            mamba_n_groups=1,
            mamba_chunk_size=64,
            num_local_experts=0,
            num_experts_per_tok=0,
            shared_intermediate_size=64,
            position_embedding_type="nope",
            **shared,
        )
    if family == "qwen3.5":
        return Qwen3_5TextConfig(
            num_hidden_layers=4,
            head_dim=8,
            linear_num_key_heads=2,
            linear_num_value_heads=4,
            linear_key_head_dim=8,
            linear_value_head_dim=8,
            layer_types=["linear_attention"] * 3 + ["full_attention"],
            **shared,
        )
    return LlamaConfig(num_hidden_layers=2, **shared)
