"""What ``gatewatch demo`` shows: simulated traffic with known attacks through the whole flow, and how well it did."""
