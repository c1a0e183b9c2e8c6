"""Policy: which licences, regions and jurisdictions are allowed, and a student's lineage.

Knows nothing of HTTP.
"""
