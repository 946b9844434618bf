"""The tests, and what they share with the benchmarks: real processes and real servers."""
