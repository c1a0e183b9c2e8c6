"""What `benchmarks/audit.py` and `long_run.py` are made of.

For the first: rules, worlds with a known rate, and real drifts. For the second: a long stream of
real texts with such drifts in it, and the rule by which a run of the whole loop is judged.

`drifts.py` gives labelled texts before and after a change and knows nothing of monitors.
"""
