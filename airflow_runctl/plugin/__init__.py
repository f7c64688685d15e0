"""A way in for people: an API inside Airflow's API server, below ``/runctl``, and a page in Airflow's UI that asks it.

It stands on the inventory and on what ends runs in ``control/``, and has no logic of its own about runs: it knows who
asks, what Airflow's auth manager lets them, where the facts lie, and which way an act takes in this deployment.

In the order in which one reads them:

- ``in_airflow.py``: what Airflow is told of it.
- ``door.py``: loads everything else with the first request.
- ``app.py``: the API: its routes, and what an error is answered with.
- ``login.py``: who asks, from where, and what they may.
- ``words.py``: what is asked and answered.
- ``source.py``: the inventory's source over Airflow's own tables.
- ``itself.py``: Airflow's own public API, asked for the user who asks.
- ``channel.py``: how what stops runs asks Airflow here.
- ``facts.py``: deadlines of live runs, and what the user may do about them.
- ``looks.py``: a look at a vendor, once for all who look.
- ``ways.py``: which way an act takes: here, by the maintenance Dag, or by hand on a worker.
- ``reading.py``: the routes that read.
- ``history.py``: the routes that tell what became of runs.
- ``archive.py``: the routes that show a sweep what archived attempts left (Airflow 3.4), and let it go.
- ``acting.py``: the routes that act.
- ``scripts.py``: gives out the scripts of the page.

The page is hand-written, and what lies here is what a browser gets:

- ``page.js``: what Airflow's UI loads, and where it shows what.
- ``views.js``: the list of live runs, and what became of runs.
- ``acting.js``: the dialogue in which runs are stopped or resumed.
- ``asking.js``: how the API is asked, again and again.
- ``parts.js``: buttons, fields and dialogues, of Airflow's own kit where it is handed on; and how they look.
- ``pure.js``: what needs neither a browser nor React: filters, limits, words.
- ``texts.js``: all that is said, for translation.
"""
