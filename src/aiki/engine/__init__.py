"""The engine: it decides what may happen next, in transactions that many calls share."""
