"""Benchmarks. Each writes the file of `docs/measured/` that README and docs quote."""
