"""One receiver each."""
