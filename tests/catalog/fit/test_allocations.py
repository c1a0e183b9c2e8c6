"""The formulas beside what torch really allocates and keeps, on small models of several families.

The models' measures are none of those that the formulas were derived with.
"""

import pytest

from openwheel.catalog.fit import cache_bytes, from_config, training_memory, work_bytes

COMMON = {"vocab_size": 700, "num_hidden_layers": 4, "num_attention_heads": 6}
FAMILIES = {
    "qwen3": {"hidden_size": 288, "intermediate_size": 800, "num_key_value_heads": 3,
              "head_dim": 40},
    "gemma3_text": {"hidden_size": 240, "intermediate_size": 700, "num_key_value_heads": 2,
                    "head_dim": 48, "sliding_window": 96},
    "qwen3_moe": {"hidden_size": 224, "moe_intermediate_size": 96, "intermediate_size": 400,
                  "num_key_value_heads": 2, "head_dim": 40, "num_experts": 10,
                  "num_experts_per_tok": 3},
    "deepseek_v3": {"hidden_size": 224, "intermediate_size": 600, "moe_intermediate_size": 96,
                    "num_key_value_heads": 6, "q_lora_rank": 64, "kv_lora_rank": 80,
                    "qk_rope_head_dim": 16, "qk_nope_head_dim": 24, "v_head_dim": 32,
                    "n_routed_experts": 8, "num_experts_per_tok": 2, "n_group": 2,
                    "topk_group": 1, "first_k_dense_replace": 1},
    "qwen3_5_text": {"hidden_size": 256, "intermediate_size": 640, "num_key_value_heads": 2,
                     "head_dim": 48, "linear_num_key_heads": 3, "linear_num_value_heads": 6,
                     "linear_key_head_dim": 40, "linear_value_head_dim": 48},
    "granitemoehybrid": {"hidden_size": 240, "intermediate_size": 240,
                         "shared_intermediate_size": 560, "num_key_value_heads": 2,
                         "num_local_experts": 0, "num_experts_per_tok": 0,
                         "layer_types": ["mamba", "attention", "mamba", "mamba"],
                         "mamba_n_heads": 10, "mamba_d_head": 48, "mamba_d_state": 40,
                         "mamba_expand": 2, "position_embedding_type": "nope"},
}  # fmt: skip
# Dense, and layers with a state.
EACH = [
    pytest.param(n, marks=() if n in {"qwen3", "qwen3_5_text"} else pytest.mark.evidence)
    for n in FAMILIES
]


@pytest.fixture(scope="module")
def torch():
    module = pytest.importorskip("torch")
    module.set_num_threads(1)
    return module


def make(torch, name):
    transformers = pytest.importorskip("transformers")
    config = transformers.CONFIG_MAPPING[name](**COMMON, **FAMILIES[name])
    return from_config(config.to_dict()), transformers.AutoModelForCausalLM.from_config(config)


def most_allocated(torch, work):
    """Return the most bytes that torch's allocator had given out during some work."""
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        work()
    events = profile.profiler.kineto_results.events()
    changes = sorted(
        (event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]"
    )
    most = now = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return most


@pytest.mark.parametrize("name", EACH)
def test_a_prompt_takes_what_the_formula_says(torch, name):
    architecture, model = make(torch, name)
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(
        architecture.parameters, rel=0.005
    )
    ids = torch.randint(5, 600, (2, 448))
    held = []
    with torch.inference_mode():
        model.eval()(input_ids=ids[:, :8])
        found = most_allocated(
            torch,
            lambda: held.append(model(input_ids=ids, use_cache=True, logits_to_keep=1)),
        )
    expected = work_bytes(architecture, tokens=448, context=448, batch=2, element=4)
    expected += cache_bytes(architecture, context=448, batch=2, element=4, trimmed=False)
    assert expected == pytest.approx(found, rel=0.08)


@pytest.mark.parametrize("name", EACH)
def test_a_step_keeps_what_the_formula_says(torch, name):
    architecture, model = make(torch, name)
    model.requires_grad_(False)
    model.enable_input_require_grads()
    ids = torch.randint(5, 600, (2, 256))
    kept = {}
    weights = {one.untyped_storage().data_ptr() for one in model.parameters()}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = (storage.nbytes(), storage)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.train()(input_ids=ids, use_cache=False, logits_to_keep=1)
    found = sum(size for size, _ in kept.values())
    expected = training_memory(architecture, tokens=512, length=256, targets=()).activations
    assert expected == pytest.approx(found, rel=0.1)
