"""Redis Streams: a stream for each workflow and shard, a consumer group for each version.

Messages stay pending while their runs are executed, so that what a dead worker held is found by its
idle time, beside the leases in the database.
"""
