"""Tests of the gateway. A package, since a benchmark bears the same name."""
