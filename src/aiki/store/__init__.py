"""The database: the only truth. A store takes and returns lists of records, never SQL."""
