"""axiom.ai's stand-in: ``runs.py``, how its runs behave; ``vendor.py``, all that is served."""
