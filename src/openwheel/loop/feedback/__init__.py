"""Takes feedback, trains on believed corrections, and measures accuracy against them.

Knows nothing of HTTP.
"""
