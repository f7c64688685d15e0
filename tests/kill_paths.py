"""Takes each kill path out of a copy of the package, one at a time, and shows which test notices.

``make kill-paths`` runs it. A path is a piece of code that keeps a run from being left alive, or one that should live
from being stopped; where two nets cover a row of the kill matrix, each stands here with a test of its own.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate

ROOT = Path(__file__).parents[1]
COPIED = ("airflow_runctl", "tests", "demo", "pyproject.toml")


@dataclass(frozen=True)
class KillPath:
    """One path.

    :param what: what it does.
    :param file: where, below ``airflow_runctl``.
    :param code: its code, once in the file.
    :param instead: what stands there without it.
    :param tests: a test file below ``tests/unit``, and words of the tests that are to notice (``-k``).
    """

    what: str
    file: str
    code: str
    instead: str
    tests: tuple[str, str]


START, UNCLEAR_START = "operators/test_start.py", "operators/test_unclear_start.py"
LIMITS, END, KILL = "operators/test_limits.py", "operators/test_end.py", "operators/test_kill.py"
DEFERRAL, TAKEOVER = "operators/test_deferral.py", "operators/test_takeover.py"
CHANGED_LOGIN = "operators/test_changed_login.py"
WATCHED_HERE = "control/test_watched_here.py"
ROUNDS = "control/test_rounds.py"
SECOND_HOME = "control/test_second_home.py"
TRIGGER, NOTIFIER = "triggers/test_run.py", "test_notifications.py"
WHOSE_RUN, LISTED = "operators/test_whose_run.py", "vendors/snaplogic/test_whose_run.py"

PATHS = [
    # rows 1 to 3
    KillPath(
        "limits on the worker",
        "operators/base.py",
        "limits=self._limits(context, run),\n                stop_timeout=",
        "limits={},\n                stop_timeout=",
        (LIMITS, "max_runtime or execution_timeout_counts"),
    ),
    KillPath(
        "limits in the trigger",
        "triggers/run.py",
        "limits=self.limits,\n            stop_timeout",
        "limits={},\n            stop_timeout",
        (LIMITS, "max_runtime or execution_timeout_counts"),
    ),
    KillPath(
        "the limit is anchored at the attempt's start",
        "operators/base.py",
        "start_date(context) + self.execution_timeout",
        "datetime.now().astimezone() + self.execution_timeout",
        (LIMITS, "execution_timeout"),
    ),
    KillPath(
        "max_runtime is anchored at the run's start",
        "operators/base.py",
        "(run.started_at + self.max_runtime)",
        "(datetime.now().astimezone() + self.max_runtime)",
        (LIMITS, "own_start_whoever"),
    ),
    KillPath(
        "nothing is started once execution_timeout has passed",
        "control/start.py",
        "not_after is not None and datetime.now(UTC) >= not_after",
        "False",
        (LIMITS, "nothing_is_started_once"),
    ),
    KillPath(
        "Airflow's alarm is held back between start and record",
        "operators/base.py",
        ", alarm_held_back():\n",
        ":\n",
        (START, "alarm"),
    ),
    KillPath(
        "a trigger that failed or timed out",
        "operators/base.py",
        "                self._after_lost_trigger(context, error)\n                raise\n",
        "                raise\n",
        (DEFERRAL, "lost_trigger"),
    ),
    KillPath(
        "a trigger that failed, of an attempt before a clear",
        "operators/base.py",
        "if not self._was_deferred_by_an_earlier_try(context):",
        "if True:",
        (DEFERRAL, "lost_trigger_of_the_one_before"),
    ),
    # rows 4 and 7
    KillPath(
        "on_kill on the worker",
        "operators/base.py",
        "            self._attempt.kill()\n        elif",
        "            pass\n        elif",
        (KILL, "killed_task_stops"),
    ),
    KillPath(
        "the request goes out before the first look, and before a word to Airflow",
        "control/kill.py",
        "timeout=KILL_SECONDS, look_first=False, in_signal_handler=True)",
        "timeout=KILL_SECONDS, in_signal_handler=True)",
        (KILL, "killed_task_stops or kill_is_over"),
    ),
    KillPath(
        "on_kill has an end",
        "control/kill.py",
        "patience = Patience(total=KILL_SECONDS, until=time.time() + KILL_SECONDS)",
        "patience = Patience(total=60.0)",
        (KILL, "kill_is_over"),
    ),
    KillPath(
        "a kill while the start is in flight",
        "control/attempt.py",
        "        if self.killed:\n            self._kill.send(run)\n        try:",
        "        try:",
        (KILL, "kill_while_the_start"),
    ),
    KillPath(
        "a kill before the start",
        "control/attempt.py",
        "        if self.told_to_end:\n            raise RunStopped",
        "        if False:\n            raise RunStopped",
        (KILL, "start_is_prepared"),
    ),
    # between start and defer
    KillPath(
        "a deferral that Airflow refuses",
        "operators/base.py",
        "        attempt.hand_on()\n        self.defer(",
        "        self.defer(",
        (DEFERRAL, "deferral_that_airflow_refuses"),
    ),
    KillPath(
        "a retry that Airflow refuses",
        "control/after_error.py",
        'next attempt, which takes it over")\n    attempt.hand_on()\n',
        'next attempt, which takes it over")\n',
        (END, "left_to_a_retry"),
    ),
    # rows 5 and 6
    KillPath(
        "the trigger's on_kill",
        "triggers/run.py",
        "        if not self.stop_on_kill:\n            return\n        stopper",
        "        return\n        stopper",
        (TRIGGER, "user_who"),
    ),
    KillPath(
        "a stop that outlives the trigger",
        "triggers/run.py",
        "done, _ = await asyncio.wait({stopper}, timeout=KILL_SECONDS)",
        "done = [stopper]\n        await asyncio.wait_for(stopper, KILL_SECONDS)",
        (TRIGGER, "goes_on_behind or airflow_cancels"),
    ),
    KillPath(
        "below Airflow 3.3 a cancelled trigger looks whether it was killed",
        "triggers/run.py",
        "            if not TRIGGERS_HEAR_OF_KILLS:\n",
        "            if False:\n",
        ("compat/test_below_3_3.py", "cancelled"),
    ),
    KillPath(
        "a mark before the deferral stops the run on Airflow 2.11",
        "operators/base.py",
        '        if attempt.killed:\n            raise RunStopped("The task was killed before it could wait',
        '        if False:\n            raise RunStopped("The task was killed before it could wait',
        (KILL, "before_it_could_wait"),
    ),
    KillPath(
        "the stop of a cleared run while the new attempt waits",
        "control/ownership.py",
        "        if LEFT_BY in stored:\n            return False\n",
        "",
        (TRIGGER, "still_judges"),
    ),
    KillPath(
        "a new attempt that has yet to wipe the old handle",
        "control/ownership.py",
        'if state == "deferred" or newly_sealed or time.monotonic() > until:',
        "if True:",
        (TRIGGER, "yet_to_wipe"),
    ),
    KillPath(
        "the attempt after a clear does not go on with what the one before had waited for",
        "operators/base.py",
        'if try_number is not None and try_number != context["ti"].try_number:',
        "if False:",
        (DEFERRAL, "event_of_the_one_before"),
    ),
    # row 8 and 12
    KillPath(
        "a retry reattaches",
        "operators/base.py",
        "if take_over(attempt, plan.alike, not_after) is None:",
        "if True:",
        (TAKEOVER, "further_try_follows"),
    ),
    KillPath(
        "the record in the task state store",
        "control/ledger.py",
        "        self._put_store(LIVE, handle)\n",
        "",
        (TAKEOVER, "handle_in_the_store"),
    ),
    KillPath(
        "the write-ahead record",
        "control/ledger.py",
        "        self._put_store(STARTING, None)\n",
        "",
        (START, "written_ahead"),
    ),
    KillPath(
        "the search for a lost start",
        "control/takeover.py",
        "run = _search_for(attempt, left, alike) if left.phase == STARTING else",
        "run = None if left.phase == STARTING else",
        (UNCLEAR_START, "unclear_start"),
    ),
    KillPath(
        "a lost start is seen while a further try looks for it",
        "control/takeover.py",
        "    attempt.ledger.still_starting(left, attempt.terms.owner)\n",
        "",
        (UNCLEAR_START, "deadline_that_comes_while_a_further"),
    ),
    KillPath(
        "somebody else's run is not taken for that of a lost start",
        "control/identity.py",
        "run.created_at is None or -EARLIER <= run.created_at - began <= LATER",
        "True",
        (UNCLEAR_START, "long_after"),
    ),
    KillPath(
        "a run of the list has to settle",
        "vendors/snaplogic/lineup.py",
        "return bool(self.candidates) and self.clock.heard_at - self.since >= self.settling_time",
        "return bool(self.candidates)",
        (LISTED, "alone_for_less or once_it_has_settled"),
    ),
    KillPath(
        "the vendor's clock says whether a run can be a start's",
        "vendors/snaplogic/lineup.py",
        "made is None or self.clock.may_be_within(made, self.begin, self.end)",
        "True",
        (LISTED, "made_before or comes_up_after"),
    ),
    KillPath(
        "a run that another task owns is not taken for a start's",
        "vendors/snaplogic/trigger.py",
        "lineup.leave(possible - owned)",
        "lineup.leave(possible)",
        (LISTED, "another_task_owns or asked_about_too"),
    ),
    KillPath(
        "the start's own answer outranks the list while the run is watched",
        "control/attempt.py",
        "if self._named_otherwise() is not None:\n            raise AnotherRun",
        "if False:\n            raise AnotherRun",
        (WHOSE_RUN, "puts_right"),
    ),
    KillPath(
        "the start's own answer outranks the list on a kill",
        "control/attempt.py",
        "self._kill.send(self._named_otherwise() or self.run)",
        "self._kill.send(self.run)",
        (WHOSE_RUN, "kill_reaches"),
    ),
    KillPath(
        "the start's own answer outranks the list before a deferral",
        "operators/base.py",
        "attempt.put_right()\n        run = attempt.own()",
        "run = attempt.own()",
        (WHOSE_RUN, "lets_go_of_its_call"),
    ),
    KillPath(
        "siblings take turns",
        "control/siblings.py",
        "if not in_the_way and mine.is_held:",
        "if True:",
        ("control/test_siblings.py", "twenty or order_of_coming"),
    ),
    KillPath(
        "a deadline reaches a start that waits for its turn",
        "control/start.py",
        "attempt.refuse_if_stopped()",
        "pass",
        (WHOSE_RUN, "waits_for_its_turn"),
    ),
    KillPath(
        "a sibling's run is not taken for that of a lost start",
        "control/identity.py",
        "left = [run for run in found if run.run_id not in owned]",
        "left = list(found)",
        (WHOSE_RUN, "no_siblings_run"),
    ),
    KillPath(
        "nothing is started beside a candidate of an ambiguous start",
        "control/takeover.py",
        "_refuse_beside_candidates(attempt, left)\n        return None",
        "return None",
        (WHOSE_RUN, "beside_a_candidate"),
    ),
    KillPath(
        "only the same run is gone on with",
        "control/takeover.py",
        "another = run.fingerprint != attempt.ledger.fingerprint",
        "another = False",
        (TAKEOVER, "another_wish"),
    ),
    KillPath(
        "what was left is over before another is started",
        "control/takeover.py",
        "        _end(attempt, run, status, why)\n",
        "",
        (TAKEOVER, "another_wish or does_not_stop"),
    ),
    KillPath(
        "the first look rides out bad answers",
        "control/takeover.py",
        "            if attempt.terms.owner.ownership is not Ownership.TASK:\n                raise\n",
        "            raise\n",
        (TAKEOVER, "rides_out"),
    ),
    KillPath(
        "a suspended run is resumed",
        "control/takeover.py",
        "    _resume(attempt, run, status)\n    return run",
        "    return run",
        (TAKEOVER, "resumes_the_suspended"),
    ),
    KillPath(
        "a paused VectorShift run is resumed",
        "vendors/vectorshift/vendor.py",
        "status.state in (RunState.SUSPENDED, RunState.UNKNOWN)",
        "status.state is RunState.SUSPENDED",
        ("operators/test_vectorshift.py", "resumes_a_paused"),
    ),
    KillPath(
        "a stopped browser is started again",
        "vendors/bctrl/browsers.py",
        "return self._start_plan(browser_id) if browser_id else None",
        "return None",
        ("operators/test_bctrl.py", "further_try"),
    ),
    KillPath(
        "the Dag-level callback stops what is recorded",
        "control/stop_dag_run.py",
        "            return lambda: self._stop(connections, found.where, handle, begun)\n",
        "            return None\n",
        (NOTIFIER, ""),
    ),
    KillPath(
        "the Dag-level callback looks for a lost start",
        "control/stop_dag_run.py",
        "            return lambda: self._stop_lost_start(connections, found.where, start)\n",
        "            return None\n",
        (NOTIFIER, "whose_process_was_lost"),
    ),
    KillPath(
        "the deployment's policy adds on_failure_callback",
        "policy.py",
        '("on_failure_callback", "on_success_callback")',
        '("on_success_callback",)',
        ("test_policy.py", ""),
    ),
    KillPath(
        "the deployment's policy adds on_success_callback",
        "policy.py",
        '("on_failure_callback", "on_success_callback")',
        '("on_failure_callback",)',
        ("test_policy.py", ""),
    ),
    # row 12 and the clears of Airflow 3.4
    KillPath(
        "what may be alive is kept where a clear deletes nothing",
        "control/ledger.py",
        "            self._second.keep(record)\n",
        "            pass\n",
        (SECOND_HOME, "goes_on_with_the_run"),
    ),
    KillPath(
        "the attempt after a clear looks there",
        "control/ledger.py",
        "record, only_a_clear = self._second.read(), True",
        "record, only_a_clear = None, True",
        (SECOND_HOME, "goes_on_with_the_run"),
    ),
    KillPath(
        "what is found there alone was left by a clear",
        "control/ledger.py",
        "was_cleared=only_a_clear\n            or ",
        "was_cleared=",
        (SECOND_HOME, "deleted_and_made_again"),
    ),
    KillPath(
        "what is kept there is bound to its task instance",
        "control/second_home.py",
        ", found_at=self._owner.key)",
        ")",
        (SECOND_HOME, "of_another_task"),
    ),
    KillPath(
        "what is kept there and does not open is an error",
        "control/second_home.py",
        "            raise HandleError(f",
        "            return None\n            raise HandleError(f",
        (SECOND_HOME, "does_not_open"),
    ),
    KillPath(
        "what a later attempt keeps is left to it",
        "control/second_home.py",
        "        if 0 < attempt_of(name) <= owner.try_number:\n",
        "        if True:\n",
        (SECOND_HOME, "a_later_attempt_keeps"),
    ),
    KillPath(
        "a run that ended before a clear is not gone on with",
        "control/takeover.py",
        "over and left.was_cleared,\n",
        "False,\n",
        (SECOND_HOME, "ended_well_before_a_clear"),
    ),
    KillPath(
        "a stop is not asked for again once a later attempt follows the run",
        "control/stop_many.py",
        "still_wanted is not None and not await still_wanted()",
        "False",
        (TRIGGER, "not_taken_in_time"),
    ),
    KillPath(
        "a kill speaks in nobody's name",
        "compat/channels.py",
        "    context = ContextVars()\n    carry_trace(context)\n    return context\n",
        "    from contextvars import copy_context\n\n    return copy_context()\n",
        (SECOND_HOME, "in_nobodys_name"),
    ),
    KillPath(
        "a kill that is refused because the attempt is over stops the run",
        "triggers/run.py",
        "                if is_refused_as_over(error):\n                    return False\n",
        "",
        (SECOND_HOME, "a_refused_question"),
    ),
    KillPath(
        "nothing is started in a task loop",
        "operators/base.py",
        "        if is_in_task_loop(context):\n",
        "        if False:\n",
        ("operators/test_task_loops.py", ""),
    ),
    # row 9
    KillPath(
        "an error of our own",
        "operators/base.py",
        "end_or_leave(attempt, context, error)\n                raise",
        "pass\n                raise",
        (END, "error_of_ours"),
    ),
    KillPath(
        "a handle that cannot be stored",
        "control/attempt.py",
        "            self.stop_after(error, StopReason.ERROR)\n            raise",
        "            raise",
        (START, "cannot_be_stored or neither_be_recorded"),
    ),
    # rows 10 and 11
    KillPath(
        "a triggerer that stalled stops nothing",
        "triggers/run.py",
        "            if await self._is_followed():\n",
        "            if False:\n",
        (TRIGGER, "still_follows"),
    ),
    KillPath(
        "an Airflow that does not answer stops nothing",
        "triggers/run.py",
        '        self._refused("Airflow does not say who follows it")\n        return True',
        "        return False",
        (TRIGGER, "does_not_answer"),
    ),
    # row 13
    KillPath(
        "a deadline's callback stops the runs",
        "notifications.py",
        "return json.dumps(self._said(await stop.run(), meant))",
        "return json.dumps([])",
        (NOTIFIER, "deadline"),
    ),
    KillPath(
        "a stop that was asked for while the start was in flight",
        "control/start.py",
        "    attempt.obey_what_came_meanwhile(run)\n    return run",
        "    return run",
        (START, "asked_for_while_the_start"),
    ),
    KillPath(
        "a deadline waits for a start in flight",
        "control/stop_dag_run.py",
        "            if self.dry_run or not waiting:\n",
        "            if True:\n",
        (NOTIFIER, "in_flight"),
    ),
    KillPath(
        "no retry starts again what a deadline stopped",
        "control/verdict.py",
        "(AirflowFailException if note.reason.is_final else RunStopped)",
        "RunStopped",
        (END, "recorded_reason"),
    ),
    KillPath(
        "a SyncCallback refuses at once",
        "notifications.py",
        'if "deadline" in context:\n            raise',
        "if False:\n            raise",
        (NOTIFIER, "sync_callback"),
    ),
    KillPath(
        "a foreign handle stops nothing",
        "control/seal.py",
        "if found_at is not None and",
        "if False and",
        (NOTIFIER, "handle_that_was_copied or handle_of_another"),
    ),
    # row 14
    KillPath(
        "bad answers are ridden out",
        "control/watch.py",
        "if time.time() - self.bad_since >= self.ride_out:",
        "if True:",
        ("control/test_watch.py", ""),
    ),
    KillPath(
        "a connection that Airflow does not give for a while",
        "triggers/run.py",
        "                if time.time() >= until:\n                    raise",
        "                raise",
        (TRIGGER, "connection"),
    ),
    KillPath(
        "a stop is asked for again until it is taken",
        "control/stop.py",
        "        if isinstance(refused, LoginRefused) or has.is_up_in(wait):\n",
        "        if True:\n",
        ("control/test_stop.py", ""),
    ),
    KillPath(
        "asked is not stopped",
        "control/stop.py",
        "            return outcome_of(vendor, look.status), look\n        if not vendor.can_look(run)",
        "            return outcome_of(vendor, look.status), look\n        return StopOutcome.STOPPED, look\n"
        "        if not vendor.can_look(run)",
        ("control/test_stop.py", ""),
    ),
    KillPath(
        "a stop that was accepted and did nothing is asked for again",
        "control/stop.py",
        "            yield from _ask_again(vendor, run)\n",
        "",
        ("control/test_stop.py", "did_nothing"),
    ),
    KillPath(
        "a run that is stopping, or cannot be seen, is not told again",
        "control/stop.py",
        "if look.shows_no_stop and has.spent() >= ask_at:",
        "if has.spent() >= ask_at:",
        ("control/test_stop.py", "told_again"),
    ),
    KillPath(
        "an address that swallows the connection takes no other's time",
        "transport/connections.py",
        "self.proof.left() / (len(addresses) - tried)",
        "self.proof.left()",
        ("transport/test_proof.py", "address_that_answers"),
    ),
    KillPath(
        "the look-up of a name ends with the request's time",
        "transport/addresses.py",
        "if not done.wait(seconds):",
        "if not done.wait():",
        ("transport/test_proof.py", "nobody_looks_up"),
    ),
    KillPath(
        "a run that may be alive is named",
        "control/attempt.py",
        "        error.add_note(what)\n",
        "",
        (START, "neither_be_recorded"),
    ),
    # what one run does never reaches another
    KillPath(
        "the wall around the stop of each run",
        "control/stop_many.py",
        "    except Exception as error:\n        return broken(name, where, error)\n",
        "",
        ("control/test_stop_by_search.py", "nobody_foresaw"),
    ),
    KillPath(
        "the wall around each handle of a Dag run",
        "control/stop_dag_run.py",
        "asyncio.create_task(_walled(where, doing))",
        "asyncio.create_task(doing())",
        (NOTIFIER, "vendor_whose_package_is_broken"),
    ),
    KillPath(
        "requests proves that no byte of a start was sent",
        "transport/sync.py",
        "sent=proof.sent",
        "sent=False",
        ("transport/test_proof.py", "connection_ends"),
    ),
    KillPath(
        "aiohttp proves that no byte of a start was sent",
        "transport/aio.py",
        "sent=proof.sent",
        "sent=False",
        ("transport/test_proof.py", "connection_ends"),
    ),
    KillPath(
        "each wait of requests is given what is left",
        "transport/connections.py",
        "self._sock.settimeout(self._proof.left())\n        count",
        "count",
        ("transport/test_proof.py", "whole_of_a_request"),
    ),
    # the vendor's calls a minute
    KillPath(
        "polls leave a part of the vendor's calls to stops",
        "transport/budget.py",
        "Rank.POLL: 0.8}",
        "Rank.POLL: 1.0}",
        ("transport/test_budget.py", "on_the_wire_at_once"),
    ),
    KillPath(
        "stops that wait for room go before polls that do",
        "transport/budget.py",
        "self._polls_held_until - now / 1000 if rank is Rank.POLL else 0.0",
        "0.0",
        ("transport/test_budget.py", "before_waiting_polls"),
    ),
    KillPath(
        "a limit is kept though a poll waits or hangs",
        "control/watch.py",
        "yield Hurry(Rank.POLL, until=min(at, warn_at))",
        "yield Hurry(Rank.POLL)",
        ("transport/test_budget.py", "limit_that_passes_while_a_poll_hangs"),
    ),
    # watching many runs with one list
    KillPath(
        "a limit is kept though a list hangs",
        "control/rounds.py",
        "self._loop.call_later(look.at_most, resting.wake) if look.at_most < math.inf else None",
        "None",
        (ROUNDS, "holds_up_no_limit"),
    ),
    KillPath(
        "a run that the list does not show as it was is looked at",
        "control/rounds.py",
        "word is not None and word == one.look.word and self.access.vendor.state_of(word).is_live",
        "True",
        (ROUNDS, "noticed_and_the_others or leaves_out"),
    ),
    KillPath(
        "a list that is behind is found out",
        "control/rounds.py",
        "if any(glance(run) == word for run, word in changed):",
        "if False:",
        (ROUNDS, "stays_behind"),
    ),
    KillPath(
        "a list that cannot be had keeps nobody from looking",
        "control/rounds.py",
        "        finally:\n            self._go_on(together, as_before)",
        "        finally:\n            as_before and self._go_on(together, as_before)",
        (ROUNDS, "of_no_use"),
    ),
    KillPath(
        "a run of a list that cannot be looked at is lost in time",
        "control/watch.py",
        "self.word, self.asked_to_wait = None, 0.0",
        "self.asked_to_wait = 0.0",
        (ROUNDS, "whose_looks_fail"),
    ),
    KillPath(
        "a list that is late leaves one timer for each who rests",
        "control/rounds.py",
        "if resting.timer is None and resting.due < math.inf and not resting.woken.done():",
        "if not resting.woken.done():",
        (ROUNDS, "late_lists_leave"),
    ),
    KillPath(
        "a list that is refused for too many calls is not made up for by looks",
        "control/rounds.py",
        "self._look_singly(pause, every=pause)",
        "self._look_singly(pause)",
        (ROUNDS, "too_many_calls"),
    ),
    KillPath(
        "a clock that jumps over a limit is noticed with the next list",
        "control/rounds.py",
        "one in as_before and wall < one.ends_at]",
        "one in as_before]",
        (ROUNDS, "clock_that_jumps"),
    ),
    KillPath(
        "a vendor that asks to wait is looked at no sooner",
        "control/watch.py",
        "seconds = max(_seconds(poll_interval, run, now), sight.asked_to_wait)",
        "seconds = _seconds(poll_interval, run, now)",
        (ROUNDS, "asks_to_wait"),
    ),
    KillPath(
        "a look before a stop takes a second at most",
        "control/stop.py",
        "yield Hurry(Rank.LOOK_BEFORE, seconds=FIRST_LOOK)",
        "yield Hurry(Rank.LOOK_BEFORE)",
        ("control/test_stop.py", "does_not_let_itself"),
    ),
    KillPath(
        "a look before a stop takes no call that a stop needs",
        "transport/turns.py",
        "if seconds > 0 and rank == Rank.LOOK_BEFORE:",
        "if False:",
        ("transport/test_budget.py", "as_many_stops"),
    ),
    KillPath(
        "a watcher in the triggerer goes on with a login that changed",
        "triggers/run.py",
        "if isinstance(what, LoginRefused) and await self._is_renewed():",
        "if False:",
        (CHANGED_LOGIN, "deferred_task_goes_on or limit_of_a_deferred"),
    ),
    KillPath(
        "a kill in the triggerer goes on with a login that changed",
        "triggers/run.py",
        "if report.error and await self._is_renewed():",
        "if False:",
        (CHANGED_LOGIN, "kill_of_a_deferred"),
    ),
    KillPath(
        "a worker goes on with a login that changed",
        "control/attempt.py",
        "if self._renews and isinstance(what, LoginRefused) and self._is_renewed():",
        "if False:",
        (CHANGED_LOGIN, "on_a_worker"),
    ),
    # what is watched here need not be read
    KillPath(
        "a deadline stops what its triggerer watches without reading a handle",
        "triggers/run.py",
        "            with watched(self._where(), target):\n",
        "            with suppress():\n",
        (WATCHED_HERE, "no_handle_can_be_read"),
    ),
    KillPath(
        "a run of a later attempt is not hidden by one that is still watched",
        "control/stop_dag_run.py",
        'begun = at_once.pop((found.where, handle.get("token")), None)',
        "begun = next((at_once.pop(key) for key in list(at_once) if key[0] == found.where), None)",
        (WATCHED_HERE, "not_hidden"),
    ),
    KillPath(
        "a stop that failed over a connection of before is tried over that of now",
        "control/stop_dag_run.py",
        "is not None and report.error is None:\n            return report",
        "is not None:\n            return report",
        (WATCHED_HERE, "connection_of_before"),
    ),
    # nothing is loaded when it is needed most
    KillPath(
        "a triggerer loads what a stop needs before, and not in its loop",
        "triggers/run.py",
        "        await loaded()\n        began",
        "        target",
        ("control/test_readiness.py", "has_just_begun"),
    ),
    KillPath(
        "a triggerer's supervisor is asked something before it is needed",
        "triggers/run.py",
        "            ask_airflow_something(self._channel, where)\n",
        "            pass\n",
        ("triggers/test_run.py", "ask_airflow_something"),
    ),
    # many at once
    KillPath(
        "what a stop waits for its turn is not counted",
        "transport/turns.py",
        "            line.waited += time.monotonic() - began\n",
        "            pass\n",
        ("control/test_stop_many.py", "time_outs_of_a_stop"),
    ),
    KillPath(
        "requests to stop go before looks at others",
        "transport/turns.py",
        "heapq.heappush(self._waiting, (rank, next(self._numbers), turn))",
        "heapq.heappush(self._waiting, (0, next(self._numbers), turn))",
        ("control/test_stop_many.py", "others_are_looked_at"),
    ),
    KillPath(
        "a request that hangs gives its turn to the next",
        "transport/turns.py",
        "            del self._held[number]\n            self._slow += 1\n            self._give()\n",
        "            pass\n",
        ("control/test_stop_many.py", "hold_up_and_hide"),
    ),
    KillPath(
        "polls have turns of their own",
        "transport/turns.py",
        "key = (address, allowance, rank is Rank.POLL)",
        "key = (address, allowance, False)",
        ("control/test_stop_many.py", "waits_for_no_poll"),
    ),
    KillPath(
        "a stop in the Dag processor is sent though the time is up",
        "control/stop.py",
        "or time.time() + seconds > self.not_after",
        "",
        ("control/test_stop_many.py", "bounded_process"),
    ),
    KillPath(
        "a stop does not wait for a record in an event loop",
        "control/recording.py",
        "asyncio.wait({self._last}, timeout=INTENT_SECONDS)",
        "asyncio.wait({self._last})",
        ("control/test_recording.py", "stop_goes_first"),
    ),
    KillPath(
        "a stop does not wait for a record on the worker",
        "control/recording.py",
        "self._writing.join(INTENT_SECONDS)",
        "self._writing.join()",
        ("control/test_recording.py", "stop_goes_first"),
    ),
    KillPath(
        "an Airflow that does not answer holds up no stop of a callback on the worker",
        "compat/channels.py",
        "            await _beside(set_xcom, key, value, where)\n",
        "            set_xcom(key, value, where)\n",
        ("control/test_recording.py", "stop_goes_first"),
    ),
]


def main(words: list[str]) -> int:
    """Take out each path whose description has one of ``words``; all of them without any."""
    chosen = [path for path in PATHS if not words or any(word in path.what for word in words)]
    rows = list(_tried(chosen))
    print(tabulate([row[:2] for row in rows], headers=("taken out", "noticed by")))
    missed = sum(not found for _, _, found in rows)
    print(f"{len(rows)} kill paths taken out; {missed} that no test notices")
    return 1 if missed else 0


def _tried(paths: list[KillPath]) -> Iterator[tuple[str, str, bool]]:
    for path in paths:
        with tempfile.TemporaryDirectory(prefix="kill-paths-") as folder:
            copy = Path(folder)
            for name in COPIED:
                source = ROOT / name
                (shutil.copytree if source.is_dir() else shutil.copy)(source, copy / name)
            target = copy / "airflow_runctl" / path.file
            text = target.read_text()
            if text.count(path.code) != 1:
                yield path.what, f"its code is {text.count(path.code)} times in {path.file}", False
                continue
            target.write_text(text.replace(path.code, path.instead))
            said = _pytest(copy, *path.tests)
        print(f"{path.what}: {said}", file=sys.stderr, flush=True)
        yield path.what, said, not said.startswith("nobody: ")


def _pytest(copy: Path, file: str, words: str) -> str:
    """Return the first test that fails."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--timeout=40", "-p", "no:cacheprovider"]
    command += [f"tests/unit/{file}", *(["-k", words] if words else [])]
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    failed = re.search(r"^(?:FAILED|ERROR) tests/unit/(\S+::\S+)", done.stdout, re.MULTILINE)
    if failed:
        return failed[1].replace(".py::", " ", 1)
    timed_out = re.search(r"in (test_\w+)$", done.stdout + done.stderr, re.MULTILINE)
    if timed_out and "Timeout" in done.stdout + done.stderr:
        return f"{file.removesuffix('.py')} {timed_out[1]} (hangs)"
    return f"nobody: {(done.stdout + done.stderr).strip().splitlines()[-1]}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
