"""What stopping, watching and importing cost, beside a bare client and the peers in the same run: ``make bench``.

In the order in which one reads them:

- ``rows``: what a row of the table is; ``machine``: on what it was measured.
- ``fresh``: measures in a process of its own, or profiles there.
- ``snaplogic``: runs of ours at ``tests/servers/many_runs.py``; ``peers``: the other packages', and their vendors.
- ``stopping``, ``watching``, ``kills``, ``imports``, ``on_time``, ``growth``: the rows.
- ``plot``, ``page``: the picture of docs/explanation/performance.md, and its table, also on the screen.
- ``__main__``: runs rows and prints the table.
"""
