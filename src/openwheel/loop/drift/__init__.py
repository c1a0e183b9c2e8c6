"""Notices drift of the teacher: a new version behind an endpoint, or answers that changed.

Read in this order: `versions` (what counts as a change), `versions_seen` (which versions answered,
and since when), `records` (the consequences of a change, in one write), `check` (one look of the
learner), `self_disagreement` (the teacher's second answers against its first), `reask` (asks again
beside the learner), `status` (for people). Knows nothing of HTTP: it is given a way to ask.
"""
