"""A turn of the loop: curate, then for each task judge who shadows, and train anew where that pays.

Knows nothing of what serves: it leaves promotions, which workers pick up.
"""
