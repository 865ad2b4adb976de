"""What tests of Gatewatch, and of detectors of one's own, need: shipped, so that both use the same."""
