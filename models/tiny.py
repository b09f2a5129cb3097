"""Random models of a few thousand parameters, in the shapes of real families: for tests and for trying things out.

They are saved as a user's models are, and load like them. What they write is gibberish.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from selfroute.models.loading import quiet
from selfroute.models.prompt import make_prompt
from selfroute.models.tiny_configs import tiny_config

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

    family: one of FAMILIES, or another of tiny_configs.ALL. The same arguments give the same weights. Needs the extra
    `transformers`.
    """
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    tokenizer = _tokenizer(chat)
    config = tiny_config(family, len(tokenizer), context_length)
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
