"""Runs the learner, which audits and takes turns for as long as it runs.

Knows nothing of processes; one learner at a time holds the lock and takes turns.
"""
