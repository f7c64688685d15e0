"""Waits for runs that another task, or somebody else, has started."""
