"""Protocol Buffers: the messages that stand for operations and records, for gRPC."""
