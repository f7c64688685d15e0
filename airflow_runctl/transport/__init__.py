"""How a request travels: one retry policy, two drivers of the same flows.

- ``endpoint.py``: where requests go and how: base URL, time-outs, proxies, certificates.
- ``retry.py``: which failures of which requests are followed by another try, and for how long.
- ``proof.py``: what is known of a request: whether a byte of it was sent, and when it has to be over.
- ``answer.py``: an answer as flows read it: storable text, and nothing that repeats the credential of its request.
- ``steps.py``: stepping through a flow, as both drivers do it.
- ``budget.py``: how many calls a minute the vendor takes, and which part of it is kept for starts and stops.
- ``turns.py``: whose turn it is where many requests want to go at once; what stops a run goes before all else.
- ``addresses.py``: the addresses of a host, looked up within a time.
- ``connections.py``: the connections of requests, which note what they send and end with the request's time.
- ``sync.py``: the driver with requests: workers, signal handlers, hooks.
- ``aio.py``: the driver with aiohttp: the triggerer, and where many runs are stopped at once.
"""
