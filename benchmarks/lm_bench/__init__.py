"""What ``benchmarks/lm.py`` measures, one module a question."""
