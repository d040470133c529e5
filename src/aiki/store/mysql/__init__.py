"""MySQL 8.0.21+ and MariaDB 10.6+: one database that any number of servers share.

Tests run on MariaDB 10.11. MySQL 8 is supported by construction: the statements keep to the SQL
that both documents describe (no RETURNING, no LATERAL, no partial indexes, no row aliases).
"""
