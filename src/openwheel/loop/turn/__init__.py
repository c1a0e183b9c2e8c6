"""Takes a turn of the loop: curates, then for each task judges the shadow and trains.

Knows nothing of serving: workers pick up the promotions that it writes.
"""
