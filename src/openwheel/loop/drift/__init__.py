"""Drift of the teacher: a new version behind an endpoint, or answers that are no longer its own.

Read in this order: `versions` (what is a change), `versions_seen` (which versions answered, and
since when), `records` (what follows from a change, in one write), `check` (one look, as the learner
takes it), `self_disagreement` (what asking again has shown), `reask` (asking again, beside the
learner), `status` (for people). Knows nothing of HTTP: it is given a way to ask.
"""
