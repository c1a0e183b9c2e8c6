import time

from openwheel.gateway.call import Call
from openwheel.gateway.spans import request_span
from openwheel.wire import APIS


def test_a_span_is_as_long_as_its_request_though_the_clock_was_set_meanwhile():
    scope = {"method": "POST", "path": "/v1/chat/completions", "headers": []}
    hour = 3_600 * 10**9
    for ahead in (-hour, hour):
        call = Call(APIS["chat"], began=time.time_ns() + ahead)
        span = request_span(scope, call)
        assert 0 <= span.end_ns - span.start_ns < hour / 2
