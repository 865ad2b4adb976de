"""Ship: a log file of a gateway to a topic, line by line, for gateways that have no Kafka sink."""
