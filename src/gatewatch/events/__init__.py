"""What one access event is, how each gateway writes it, and how many of them become one batch of columns."""
