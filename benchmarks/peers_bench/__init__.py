"""Openwheel beside Jevstiller and stuntd: the same embeddings and splits, each by its own code.

`theirs.py` runs in an environment of its own that has the two peers; the rest runs in ours.
"""
