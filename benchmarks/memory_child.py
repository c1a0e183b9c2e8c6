"""One measurement of `memory.py`, in a process of its own: prints one line of JSON."""

import gc
import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers

from memory_models import MODELS, TINY
from openwheel.catalog.fit import from_folder

STEPS = 4
"""Tokens answered after the prompt."""


def status(field: str) -> int:
    """Return a field of this process's status, in bytes."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) << 10
    raise SystemExit(f"/proc/self/status has no {field}")


def peak_of(work: Callable[[], object]) -> int:
    """Return the most memory that was resident while something ran."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # VmHWM starts again
    work()
    return status("VmHWM")


def build(config: dict[str, Any], dtype: str) -> Any:
    fields = {key: value for key, value in config.items() if key != "model_type"}
    made = transformers.CONFIG_MAPPING[config["model_type"]](**fields)
    torch.manual_seed(0)
    return transformers.AutoModelForCausalLM.from_config(made, dtype=getattr(torch, dtype))


def load(folder: str, dtype: str) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=getattr(torch, dtype), use_safetensors=True
    ).eval()


def answer(model: Any, batch: int, context: int) -> None:
    """Take in prompts, then answer a few tokens, as a greedy loop would."""
    ids = torch.randint(5, 400, (batch, context - STEPS))
    with torch.inference_mode():
        done = model(input_ids=ids, use_cache=True, logits_to_keep=1)
        for _ in range(STEPS):
            token = done.logits[:, -1].float().softmax(-1).argmax(-1, keepdim=True)
            done = model(
                input_ids=token,
                past_key_values=done.past_key_values,
                use_cache=True,
                logits_to_keep=1,
            )


def learn(model: Any, names: list[str], rows: int, length: int) -> None:
    """Take two steps of LoRA training in which half of the tokens are learned."""
    from peft import LoraConfig, get_peft_model

    tuned = get_peft_model(model, LoraConfig(r=16, target_modules=names, lora_dropout=0.0))
    tuned.train()
    weights = [one for one in tuned.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(weights)
    ids = torch.randint(5, 400, (rows, length))
    keep = length // 2
    for _ in range(2):
        flat = tuned(input_ids=ids, use_cache=False, logits_to_keep=keep).logits.flatten(0, 1)
        loss = torch.nn.functional.cross_entropy(flat.float(), ids[:, -keep:].flatten())
        del flat
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def targets(model: Any, folder: str) -> list[str]:
    """Return the linear modules of mixers, and of MLPs where there are no routed experts.

    Where there are, PEFT would take ``down_proj`` for the experts' own weights too.
    """
    modules = dict(model.named_modules())
    linear = {
        name.rpartition(".")[2]
        for name, module in modules.items()
        if isinstance(module, torch.nn.Linear)
    }
    layers = from_folder(Path(folder)).architecture.layers
    wanted = {one.name for layer in layers for one in layer.mixer.linears}
    if not any(name.endswith("experts") for name in modules):
        wanted |= {one.name for layer in layers for one in layer.mlp.linears}
    return sorted(linear & wanted)


def seconds(work: Callable[[], object], times: int = 3) -> float:
    """Return CPU seconds of one run, after one that warms up."""
    work()
    begun = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - begun) / times


def timed(model: Any, batch: int, length: int) -> dict[str, float]:
    """Return CPU seconds of a prompt, and of passing forward and back."""
    ids = torch.randint(5, 400, (batch, length))
    with torch.inference_mode():
        prompt = seconds(lambda: model(input_ids=ids, logits_to_keep=1))
    model.requires_grad_(False)
    model.enable_input_require_grads()

    def step() -> None:
        logits = model(input_ids=ids, use_cache=False, logits_to_keep=length // 4).logits
        logits.float().log_softmax(-1).mean().backward()

    return {"prompt": prompt, "step": seconds(step)}


def main() -> None:
    what, folder, name, dtype = sys.argv[1:5]
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    chosen = MODELS[name]
    if what == "build":
        model = build(dict(chosen.config), dtype)
        model.save_pretrained(folder)
        print(json.dumps({"parameters": model.num_parameters()}))
        return
    if what == "time":
        made = build(dict(chosen.config), dtype).eval()
        print(json.dumps(timed(made, chosen.rows, chosen.length)))
        return
    tiny = build(dict(TINY), dtype)
    answer(tiny, 1, 64)
    if what == "train":
        learn(tiny, ["q_proj", "v_proj"], 1, 32)
    del tiny
    gc.collect()
    base = status("VmRSS")
    held: list[Any] = []
    loading = peak_of(lambda: held.append(load(folder, dtype)))
    found: dict[str, Any] = {"base": base, "load": loading - base}
    if what == "serve":
        found["run"] = peak_of(lambda: answer(held[0], chosen.batch, chosen.context)) - base
    else:
        names = targets(held[0], folder)
        found["targets"] = names
        found["run"] = peak_of(lambda: learn(held[0], names, chosen.rows, chosen.length)) - base
    print(json.dumps(found))


if __name__ == "__main__":
    main()
