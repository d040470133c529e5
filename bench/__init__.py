"""Benchmarks: workloads as ratios to a yardstick that is measured in the same run."""
