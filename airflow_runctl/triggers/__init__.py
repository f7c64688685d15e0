"""The triggerer's side of a run."""
