"""Receive: log records that gateways send over HTTP, written to the topics of the sources."""
