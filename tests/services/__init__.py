"""Real services for tests: started when first asked for, and never outliving pytest."""
