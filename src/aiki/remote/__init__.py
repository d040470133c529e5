"""A server elsewhere: its `Api` over HTTP and gRPC."""
