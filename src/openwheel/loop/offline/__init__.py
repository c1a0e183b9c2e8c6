"""Passes over a log that is all there: learn, evaluate, replay, data sets.

Knows nothing of live traffic.
"""
