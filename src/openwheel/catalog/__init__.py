"""Facts on open-weight checkpoints: licences, families, sizes, and what this machine can run.

Knows nothing of traffic.
"""
