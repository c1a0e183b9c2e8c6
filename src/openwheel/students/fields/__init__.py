"""Records on the rung ``linear``: the type of a record first, then one tagger for its fields.

Knows nothing of HTTP, the gate, or how a task was found.
"""
