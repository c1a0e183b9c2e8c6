"""The rung ``lm``: training speed, and tiny models from scratch through the whole rung.

    python benchmarks/lm.py --train              training tokens per CPU-second, TRL beside it
    python benchmarks/lm.py --rung               tiny models from scratch through the whole rung

Models are random, of Qwen3's architecture, with a tokenizer trained on the data: no network.
"""

import argparse

from lm_bench import rung
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
    add("--precision", default="q8_0", help="in which --rung serves the base")
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


if __name__ == "__main__":
    main()
