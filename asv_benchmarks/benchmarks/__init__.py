"""Benchmarks of fallline and its peers; peers are values of the same parameter as ours."""
