"""Feedback: taking it, what its corrections teach, and accuracy against them.

Knows nothing of HTTP.
"""
