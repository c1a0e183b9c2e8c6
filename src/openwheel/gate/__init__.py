"""Pure statistics on arrays: which threshold may a student answer at, with what evidence.

Bounds, threshold selection, certificates and audit tests. NumPy and SciPy only; knows nothing of
everything else, and does no input or output. The sequential tests of audits are a package of their
own, `openwheel.gate.monitors`, and are imported from there.
"""

from openwheel.gate.betting import (
    bounded_anytime_p_value,
    in_steps,
    mean_bound,
    mean_interval,
    one_look_p_value,
)
from openwheel.gate.bounds import (
    anytime_p_value,
    binomial_p_value,
    clopper_pearson,
    upper_bound,
)
from openwheel.gate.certificate import (
    Certificate,
    Compared,
    Evidence,
    Slice,
    Verification,
    Window,
    verify,
)
from openwheel.gate.floor import least_confidence
from openwheel.gate.judge import Judgement, Method, Partial, Test, first_of_each, judge
from openwheel.gate.plan import Plan, growth_needed, make_plan, predicted_coverage
from openwheel.gate.selection import fallback, spent

__all__ = [
    "Certificate",
    "Compared",
    "Evidence",
    "Judgement",
    "Method",
    "Partial",
    "Plan",
    "Slice",
    "Test",
    "Verification",
    "Window",
    "anytime_p_value",
    "binomial_p_value",
    "bounded_anytime_p_value",
    "clopper_pearson",
    "fallback",
    "first_of_each",
    "growth_needed",
    "in_steps",
    "judge",
    "least_confidence",
    "make_plan",
    "mean_bound",
    "mean_interval",
    "one_look_p_value",
    "predicted_coverage",
    "spent",
    "upper_bound",
    "verify",
]
