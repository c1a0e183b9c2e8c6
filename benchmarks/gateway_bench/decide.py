"""What a promoted student costs without HTTP: ``RegistryServing.decide`` on given requests.

Run by the benchmark as ``python -m gateway_bench.decide DATABASE``; reads bodies, one a line, and
prints one JSON object.
"""

import json
import sys
import time

from openwheel.loop.registry import Registry
from openwheel.loop.serving import RegistryServing, settled
from openwheel.store import Store
from openwheel.wire import APIS


def main() -> None:
    bodies = [line.rstrip(b"\n") for line in sys.stdin.buffer]
    with Store.open(sys.argv[1], create=False) as store:
        serving = RegistryServing(Registry(store))
        read = APIS["chat"].read_request
        asked = [read(body) for body in bodies]
        for request in asked[:100]:  # caches, and pages of the weights
            serving.decide(request)
        began = time.process_time()
        answers = [settled(serving.decide(request)).answer for request in asked]
        seconds = time.process_time() - began
    print(json.dumps({"answers": answers, "ms": 1000 * seconds / len(asked)}))


if __name__ == "__main__":
    main()
