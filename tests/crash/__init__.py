"""The crash walk: real processes, killed at every kind of moment."""
