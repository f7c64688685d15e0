"""What to do about live runs. Start here: the life of a run, and which file has which part of it.

The theory. A run at a vendor has one *owner*: the task attempt that watches it, or its Dag run, or nobody. Airflow can
end an attempt at any moment, from outside, without a word; the run goes on. So whatever is needed to reach the run
again is written down before it is needed, where the next who may have to act can read it: the next attempt, the
trigger, a callback of the Dag or of a deadline, a person. Each of them reads the same records, and all stop a run by
the same flow.

::

      before              start                record           watch             end
    +-----------+  write ahead  +-----------+  handle  +-------------------+  +-------------------+
    | leftover  | ------------> | in flight | -------> | worker or trigger | ->| result, or error  |
    | of before?|  "starting"   |           |  "live"  | until over, limit |  | that Airflow acts |
    +-----------+               +-----------+          | or lost           |  | on;   "over"      |
          ^                           |                +-------------------+  +-------------------+
          |                           | lost                    | killed, lost, limit     |
          +---------------------------+-------------------------+-------------------------+
            a further try: takes over, resumes, or ends it       a stop: intent, ask, confirm, outcome

What a record says of a run (``records.py``): ``starting`` (it may come to be), ``live``, ``killed`` (its attempt was
killed and stopped it), ``released`` (it belongs to the Dag run, or to nobody), ``over``.

In the order in which one reads them:

========================  =========================================================================================
``audit.py``              telling what happens to a run: the audit log, metrics, spans
``history.py``            the same events as a list that is kept for people; nothing decides by it
``stop.py``               how one run is stopped: look, ask, confirm by looking; and what is noted of it
``stop_note.py``          what is noted of a stop
``seal.py``               the handle: a run as others may carry it, and how it is opened again
``records.py``            what is recorded, where, and in which form
``recording.py``          recording a stop without holding it up
``remember.py``           keeping the history, last of all
``readiness.py``          loading what a stop needs before it is needed
``arguments.py``          which arguments of a start differ from an earlier attempt's, kept so that none can be guessed
``second_home.py``        where that is kept which the clear of a task must not delete (Airflow 3.4)
``ledger.py``             the records of one attempt, written on the worker
``identity.py``           which of the runs that came up is the one of a start that nobody heard the answer of
``kill.py``               the stop that a killed task sends inside its signal handler
``attempt.py``            one attempt on the worker: record its run, hand it on, end it, stop it on a kill
``start.py``              writing ahead and starting, once; what an unclear answer means
``takeover.py``           what a further try does with the run that an earlier one left
``watch.py``              following a run to its end or to a limit
``rounds.py``             following many with one list of the vendor's, in the triggerer
``slow_runs.py``          reporting a run that takes long
``verdict.py``            what the end of the watching means for the task: result or error, retry or none
``after_error.py``        whether a run is stopped when its task fails, or left to a further try
``ownership.py``          whether an attempt still follows its run, asked before a stop for a user's sake
``dag_run_records.py``    what the tasks of a Dag run have recorded
``siblings.py``           whose turn it is to start, where runs could be taken for each other's
``task_names.py``         which of a Dag run's tasks are meant by the names that a user gives
``garbage.py``            Python's garbage collector, which waits while many runs are stopped
``stop_many.py``          many runs at once, a report on each
``watched_here.py``       the runs that this process watches, whose handles need not be read first
``stop_dag_run.py``       all that a Dag run left alive, starts in flight included
``stop_by_search.py``     all live runs that match a search
``pause_resume.py``       telling a run to pause or to resume, and looking whether it did
``inventory.py``          what Airflow knows of all runs that may be alive: their owners, and whether one is an orphan
``end_owner.py``          ending the task that owns a run, for a person, and following that to the run's end
``by_hand.py``            stopping or resuming one run of the inventory for a person
``channel_source.py``     the same inventory where only named places can be asked for: in a task
``errands.py``            what a person asked the API server for, done there or by a task
``strangers.py``          live runs at a vendor that Airflow does not know
``lost_starts.py``        starts of which nobody knows what came
``archive.py``            runs that only an archived attempt knows of (Airflow 3.4)
``findings.py``           what a sweep says of each run
``sweep.py``              finding the runs whose owner is over, and stopping them
========================  =========================================================================================

==========================================================  ===============================================
question                                                    file to open
==========================================================  ===============================================
May a retry start the run again?                            ``verdict.py``; for stops ``runs.StopReason``
May a run have come of a start that failed?                 ``start.py``
What becomes of the run when its task fails?                ``after_error.py``
What happens to a run when the task is killed?              ``attempt.py`` (worker), ``triggers/run.py``
What does a retry, or a clear, do with what was left?        ``takeover.py``
When is a stop confirmed, and how often is it asked for?    ``stop.py``
Which limit applies, and from when does it count?           ``operators/base.py``; how it is kept: ``watch.py``
How long are bad answers put up with?                       ``watch.py``
When is a list of runs believed?                            ``rounds.py``
Which run did a start make that did not say?                ``vendors/snaplogic/lineup.py``; lost: ``identity.py``
What has become of a run, and who did it?                   ``history.py``; told by ``audit.py``
What can a deadline see of a task?                          ``dag_run_records.py``, ``stop_dag_run.py``
Is a run an orphan?                                         ``inventory.py``; may it be stopped: ``sweep.py``
Who may stop this run?                                      ``seal.py`` (handles), ``ownership.py`` (kills)
==========================================================  ===============================================
"""
