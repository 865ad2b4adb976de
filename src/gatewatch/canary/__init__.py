"""Canary: a harmless, labelled request through gateway, Kafka, detect, decide and enforce, and how long each hop is."""
