"""Asks llama.cpp, in a process of its own: tokens of texts, and log-probabilities after prompts.

Usage: run_llama_cpp.py MODEL.gguf ASK.json, prints one line of JSON after ``ANSWER``.
"""

import json
import sys
import urllib.request
from pathlib import Path
from typing import Any

import xllamacpp


def post(url: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def logprobs(url: str, ids: list[int], size: int) -> dict[str, float]:
    """Return the log-probability of each token after a prompt, whatever was drawn."""
    ask = {"prompt": ids, "n_predict": 1, "n_probs": size, "cache_prompt": False}
    for seed in range(50):  # nothing is told where the end token is drawn
        drawn = post(f"{url}/completion", {**ask, "seed": seed, "samplers": ["temperature"]})
        if found := drawn.get("completion_probabilities"):
            return {str(top["id"]): top["logprob"] for top in found[0]["top_logprobs"]}
    raise RuntimeError(f"no probabilities after {ids}")


def main(model: str, ask: dict[str, Any]) -> None:
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.n_ctx, params.n_parallel, params.warmup, params.verbosity = 256, 1, False, 0
    params.cpuparams.n_threads = 1
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    server = xllamacpp.Server(params)
    url = server.listening_address
    answer = {
        "tokens": [
            post(f"{url}/tokenize", {"content": text, "add_special": True, "parse_special": True})[
                "tokens"
            ]
            for text in ask["texts"]
        ],
        "logprobs": [logprobs(url, ids, ask["size"]) for ids in ask["ids"]],
    }
    print("ANSWER" + json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(Path(sys.argv[2]).read_text()))
