"""Learns from, evaluates, replays and exports a complete log.

Knows nothing of live traffic.
"""
