"""What Gatewatch cannot see, said as findings of its own: so that "no alert" never means "not watching"."""
