"""What `benchmarks/gateway.py` is made of: the sides, the teacher, the client and the modes.

Knows nothing of the gateway's inside but for two modules: `taken_apart` puts a clock, or a student
that costs nothing, behind the real app, and `decide` asks a promoted student without HTTP.
"""
