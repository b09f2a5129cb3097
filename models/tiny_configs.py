"""The configs of tiny.py's models: one attention-only family and the seven hybrid ones, a few thousand numbers each."""

from __future__ import annotations

from typing import Any

ALL = ("llama", "granite-hybrid", "qwen3.5", "lfm2", "jamba", "nemotron-h", "bamba", "falcon-h1")


def tiny_config(family: str, vocab_size: int = 128, context_length: int = 4096) -> Any:
    """transformers' config of a small model of a family in ALL, llama's for another name; 2 key-value heads of 8.

    granite-hybrid, nemotron-h (with a layer of neither kind) and bamba have Mamba-2 beside attention layers, jamba
    Mamba-1 and experts, qwen3.5 three gated-delta layers to one of attention, lfm2 short convolutions, and falcon-h1
    both in every layer.
    """
    import transformers

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
    mamba: dict[str, Any] = {
        "mamba_n_heads": 4,
        "mamba_d_head": 16,
        "mamba_d_state": 8,
        "mamba_n_groups": 1,
        "mamba_chunk_size": 64,
    }
    if family == "granite-hybrid":
        return transformers.GraniteMoeHybridConfig(
            num_hidden_layers=4,
            layer_types=["mamba", "attention"] * 2,
            num_local_experts=0,
            num_experts_per_tok=0,
            shared_intermediate_size=64,
            position_embedding_type="nope",
            **mamba,
            **shared,
        )
    if family == "qwen3.5":
        return transformers.Qwen3_5TextConfig(
            num_hidden_layers=4,
            head_dim=8,
            linear_num_key_heads=2,
            linear_num_value_heads=4,
            linear_key_head_dim=8,
            linear_value_head_dim=8,
            layer_types=["linear_attention"] * 3 + ["full_attention"],
            **shared,
        )
    if family == "lfm2":
        return transformers.Lfm2Config(num_hidden_layers=4, layer_types=["conv", "full_attention"] * 2, **shared)
    if family == "jamba":
        return transformers.JambaConfig(
            num_hidden_layers=4,
            attn_layer_period=2,
            attn_layer_offset=1,
            expert_layer_period=2,
            expert_layer_offset=1,
            num_experts=2,
            mamba_d_state=8,
            mamba_dt_rank=4,
            use_mamba_kernels=False,
            **shared,
        )
    if family == "nemotron-h":
        return transformers.NemotronHConfig(
            layers_block_type=["mamba", "attention", "mlp", "attention"],
            head_dim=8,
            mamba_num_heads=4,
            mamba_head_dim=16,
            ssm_state_size=8,
            n_groups=1,
            chunk_size=64,
            **shared,
        )
    if family == "bamba":
        return transformers.BambaConfig(num_hidden_layers=4, attn_layer_indices=[1, 3], **mamba, **shared)
    if family == "falcon-h1":
        return transformers.FalconH1Config(num_hidden_layers=2, head_dim=8, mamba_d_ssm=64, **mamba, **shared)
    return transformers.LlamaConfig(num_hidden_layers=2, **shared)
