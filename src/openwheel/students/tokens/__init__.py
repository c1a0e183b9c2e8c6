"""Records by an encoder that is tuned on the task: a tag for each word, labels for each text.

Knows nothing of HTTP or the gate.
"""
