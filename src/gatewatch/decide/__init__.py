"""Decide: findings become alerts for people and decisions for gateways. See ``docs/decide.md``."""
