"""The server: REST and gRPC over an engine."""
