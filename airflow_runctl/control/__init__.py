"""What to do about live runs: keep and find their handles, watch them, stop them."""
