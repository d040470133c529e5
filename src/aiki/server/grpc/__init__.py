"""gRPC: every operation as a unary call, and a stream for workers, on a port of its own."""
