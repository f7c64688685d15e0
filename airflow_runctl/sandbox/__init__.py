"""Local stand-ins for the four vendors: for trying the provider out, and for its tests."""
