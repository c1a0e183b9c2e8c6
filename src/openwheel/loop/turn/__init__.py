"""A turn of the loop: curate, then for each task judge the shadow, and train where that pays.

Knows nothing of what serves: it leaves promotions, which workers pick up.
"""
