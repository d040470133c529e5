"""How operations and answers travel: MessagePack between Aiki's own parts, JSON for everybody."""
