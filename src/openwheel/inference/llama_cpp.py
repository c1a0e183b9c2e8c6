"""llama.cpp as a process: ``python -m openwheel.inference.llama_cpp``.

It is told what to run in a line of JSON on its standard input, says where it answers in a line on
its standard output, and ends when the input does. The process holds nothing but llama.cpp, so it
may crash or be killed alone.
"""

import os
import signal
import sys

import msgspec

WRONG = 2
"""The exit status where what is to be run cannot be."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What llama.cpp runs.

    Attributes:
        model: A GGUF file.
        name: What the model is called in answers.
        adapters: GGUF files of adapters; a request names one by its place here.
        slots: Answers written at the same time, each with a memory of its prompt.
        context: Tokens of a prompt with its answer.
        threads: How many compute.
        exact: Whether what is remembered of a prompt is kept in 32 bits.
    """

    model: str
    name: str
    adapters: tuple[str, ...] = ()
    slots: int = 4
    context: int = 2048
    threads: int = 1
    exact: bool = False


def main() -> None:
    """Run llama.cpp until standard input ends."""
    said = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever the library prints is for the log
    line = sys.stdin.buffer.readline()
    # From here on the process may be ended at any moment: it holds nothing that must be whole.
    run = msgspec.json.decode(line, type=Run)
    import xllamacpp as x  # noqa: PLC0415 - 34 MB of it, and only here

    params = x.CommonParams()
    params.model.path = run.model
    params.model_alias = {run.name}
    params.port, params.verbosity, params.warmup, params.ui = 0, 1, False, False
    params.n_parallel, params.n_ctx, params.fit_params = run.slots, run.slots * run.context, False
    for threads in (params.cpuparams, params.cpuparams_batch):
        # Threads that spin while they wait for work starve the other processes.
        threads.n_threads, threads.poll = run.threads, 0
    # A window's memory of its own could not go back to where two prompts part.
    params.swa_full = True
    # What is remembered of a prompt is of one adapter, and the cache beside the slots knows none.
    params.cache_ram_mib, params.cache_idle_slots = 0, False
    if run.exact:
        kind = x.ggml_type.GGML_TYPE_F32
        params.cache_type_k = params.cache_type_v = kind
        off = x.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.flash_attn_type = off
    # Not put on the model unless a request names them.
    params.lora_adapters = [x.CommonAdapterLoraInfo(path, 0.0) for path in run.adapters]
    try:
        server = x.Server(params)
    except RuntimeError:
        sys.stderr.write(f"llama.cpp cannot run {run.model}\n")
        os._exit(WRONG)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)  # the library has put its own in their place
    said.write(server.listening_address.encode() + b"\n")
    while os.read(0, 1 << 16):
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
