"""Generated from `aiki.proto`: the package `aiki.v1`."""
