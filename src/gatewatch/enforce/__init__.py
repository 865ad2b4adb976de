"""Enforce: whom to stop. Every replica reads `decisions` whole, holds what is active, and answers gateways."""
