"""The loop: curate, train, calibrate, certify, promote; and the registry of what is promoted.

Knows nothing of HTTP.
"""
