"""What `benchmarks/audit.py` is made of: rules, worlds with a known rate, and real drifts.

`drifts.py` gives labelled texts before and after a change and knows nothing of monitors, so that a
benchmark of the whole loop can send the same texts through a gateway.
"""
