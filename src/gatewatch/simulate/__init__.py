"""Traffic that nobody sent: benign and hostile events with known answers, for the demo, for tests and for load.

Seeded and vectorised: the same scenario, rate, duration, start and seed give the same bytes. Hostile rows are made by
the same functions and drawn from the same pools as benign ones, and which rows they are stands in a side file only.
"""
