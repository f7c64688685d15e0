"""What may be said to this package: each public argument, its type and range, in one table.

- ``table.py``: the table: class by class, argument by argument.
- ``kinds.py``: what a value may be, and how it is understood.
- ``reading.py``: holds what was given, or came out of a template, against the table.
"""
