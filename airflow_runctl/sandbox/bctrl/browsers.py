"""bctrl's generation B, browsers and their runs, as client 0.3.0 speaks it (contract 2026-10-03)."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from airflow_runctl.sandbox.bctrl.account import Account
from airflow_runctl.sandbox.bctrl.runs import MAX_WAIT, SPACE, BctrlRun, body_of, page, stamp, wait_seconds
from airflow_runctl.sandbox.runs import Step, now
from airflow_runctl.sandbox.wire import Answer, Call, Refused, Route, as_json

TERMINAL: Final = frozenset({"ended", "failed", "stopped"})
CONNECTION_SECONDS: Final = 3600


@dataclass(eq=False, slots=True, kw_only=True)
class BrowserRun(BctrlRun):
    browser: str
    admitted_at: datetime
    end_reason: str | None = None

    def details(self) -> dict[str, Any]:
        return {"browser_id": self.browser}


@dataclass(eq=False, slots=True)
class Browser:
    """A browser outlives its runs; it is idle between them."""

    id: str
    name: str
    space: str = SPACE
    saved_state: str = "none"
    created_at: datetime = field(default_factory=now)
    run: BrowserRun | None = None

    @property
    def live_run(self) -> BrowserRun | None:
        return self.run if self.run and self.run.open else None


class Browsers:
    """The browsers of one account. One of them, ``shop``, is there from the beginning, idle."""

    def __init__(self, account: Account) -> None:
        self._account = account
        once = account.replays.once
        self.routes = (
            Route("POST", "v1/browsers", "start", once(self.create)),
            Route("GET", "v1/browsers", "list", self.list_browsers),
            Route("GET", "v1/browsers/{id}", "status", self.get),
            Route("POST", "v1/browsers/{id}/start", "start", once(self.start)),
            Route("POST", "v1/browsers/{id}/stop", "stop", once(self.stop)),
            Route("GET", "v1/browsers/{id}/runs", "list", self.list_browser_runs),
            Route("GET", "v1/runs", "list", self.list_runs),
            Route("GET", "v1/runs/{id}", "status", self.get_run),
        )
        self.reset()

    def reset(self) -> None:
        shop = Browser("brw-shop", "shop")
        self.browsers = {shop.id: shop}

    def _browser(self, call: Call) -> Browser:
        """[code] The path takes the id, or a name that only one browser has."""
        wanted = call.args["id"]
        if wanted in self.browsers:
            return self.browsers[wanted]
        named = [browser for browser in self.browsers.values() if browser.name == wanted]
        if len(named) > 1:
            raise Refused(409, f"{len(named)} browsers are named {wanted}", "resource.name_ambiguous")
        if not named:
            raise Refused(404, "No such browser", "browser.not_found")
        return named[0]

    async def create(self, call: Call) -> Answer:
        """[code] Creates a browser and requests its first run at once."""
        wait, body = wait_seconds(call), body_of(call)
        number = secrets.token_hex(6)
        browser = Browser(f"brw-{number}", body.get("name") or f"browser-{number}", body.get("spaceId") or SPACE)
        self.browsers[browser.id] = browser
        await self._begin(browser, body, call, wait)
        return as_json(self._shown(browser), 201)

    async def start(self, call: Call) -> Answer:
        """[code] Waits for a run that is still stopping; gives back a run that is there; else begins one."""
        wait, body, browser = wait_seconds(call), body_of(call), self._browser(call)
        live = browser.live_run
        if live and live.stopping and not await live.over(MAX_WAIT):
            raise Refused(503, "the previous run did not end in time", "browser.start_timeout")
        if not browser.live_run:
            await self._begin(browser, body, call, wait)
        return as_json(self._shown(browser))

    async def _begin(self, browser: Browser, body: dict[str, Any], call: Call, wait: int) -> None:
        behaviour = self._account.behaviours.get(browser.name, self._account.default)
        queue = behaviour.queue_seconds
        run = BrowserRun(
            vendor=self._account.name,
            run_id=f"run-{secrets.token_hex(8)}",
            name=browser.name,
            key=browser.name,
            terminal=TERMINAL,
            inputs=body,
            browser=browser.id,
            admitted_at=datetime.max.replace(tzinfo=UTC) if queue is None else now() + timedelta(seconds=queue),
        )
        run.follow(
            Step(0, "starting"),
            Step(None if queue is None else queue + behaviour.start_seconds, "active"),
            Step(behaviour.run_seconds, behaviour.end or "ended", behaviour.message),
        )
        browser.run = run
        self._account.add(run)
        call.effective.set()
        if wait:
            await run.until(lambda: run.state != "starting", wait)

    async def stop(self, call: Call) -> Answer:
        """Ask a browser to stop: a request, not a completion.

        [code] Saving its state goes on after it has exited. [unknown] An idle browser: 409
        ``browser.not_running``; one that is stopping: 409 ``browser.stop_pending``.
        """
        wait, body, browser = wait_seconds(call), body_of(call), self._browser(call)
        run = browser.live_run
        if browser.run:
            browser.run.asked_to_stop()
        if run is None:
            raise Refused(409, "the browser is not running", "browser.not_running")
        if run.stopping:
            raise Refused(409, "the browser is already stopping", "browser.stop_pending")
        browser.saved_state = "none" if body.get("discardState") else "saved"
        run.end_reason = "stopped on request"
        run.follow_stop(Step(0, "stopping"), Step(self._account.behaviour_of(run).stop_seconds, "ended"))
        call.effective.set()
        if wait:
            await run.over(wait)
        return as_json(self._shown(browser))

    async def get(self, call: Call) -> Answer:
        browser, wait = self._browser(call), wait_seconds(call)
        if wait and browser.live_run:
            await self._settled(browser.live_run, wait)
        return as_json(self._shown(browser))

    async def get_run(self, call: Call) -> Answer:
        run = self._account.runs.get(call.args["id"])
        if not isinstance(run, BrowserRun) or run.admitted_at > now():
            raise Refused(404, "No such run", "run.not_found")  # [inferred]
        await self._settled(run, wait_seconds(call))
        return as_json(self._shown_run(run))

    @staticmethod
    async def _settled(run: BrowserRun, wait: int) -> None:
        """Wait through a transition as long as the caller allows. [inferred] The reply may still show it."""
        if wait:
            await run.until(lambda: run.state not in ("starting", "stopping"), wait)

    async def list_browsers(self, call: Call) -> Answer:
        return page(call, list(self.browsers.values()), lambda browser: browser.id, self._shown)

    async def list_browser_runs(self, call: Call) -> Answer:
        browser = self._browser(call)
        return self._page_of_runs(call, [run for run in self._runs() if run.browser == browser.id])

    async def list_runs(self, call: Call) -> Answer:
        return self._page_of_runs(call, self._runs())

    def _runs(self) -> list[BrowserRun]:
        moment = now()
        return [r for r in self._account.runs.values() if isinstance(r, BrowserRun) and r.admitted_at <= moment]

    def _page_of_runs(self, call: Call, runs: list[BrowserRun]) -> Answer:
        """[code] Filters: ``status`` (may be repeated), ``resourceId``, ``spaceId``, ``from``, ``to``."""
        states, resources = _all(call, "status"), _all(call, "resourceId")
        first, last, spaces = _time(call, "from"), _time(call, "to"), _all(call, "spaceId")
        wanted = [
            run
            for run in runs
            if (not states or run.state in states)
            and (not resources or run.browser in resources)
            and (not spaces or self.browsers[run.browser].space in spaces)
            and (first is None or run.created_at >= first)
            and (last is None or run.created_at <= last)
        ]
        return page(call, wanted, lambda run: run.run_id, self._shown_run)

    def _shown(self, browser: Browser) -> dict[str, Any]:
        run = browser.live_run
        admitted = run if run and run.admitted_at <= now() else None
        return {
            "object": "browser",
            "id": browser.id,
            "name": browser.name,
            "spaceId": browser.space,
            "status": "running" if run else "idle",
            "savedState": {"status": browser.saved_state},
            "currentRun": self._shown_run(admitted) if admitted else None,
            "createdAt": stamp(browser.created_at),
        }

    def _shown_run(self, run: BrowserRun) -> dict[str, Any]:
        active = next((event.at for event in run.history if event.event == "active"), None)
        return {
            "object": "run",
            "id": run.run_id,
            "status": run.state,
            "endReason": (run.message or run.end_reason) if not run.open else None,
            "resourceId": run.browser,
            "resourceType": "browser",
            "spaceId": self.browsers[run.browser].space,
            "taskId": None,
            "createdAt": stamp(run.created_at),
            "startedAt": stamp(active),
            "endedAt": stamp(run.ended_at),
            "recording": None,
            "control": None,
            "connections": self._connections(run) if run.state == "active" else None,
        }

    def _connections(self, run: BrowserRun) -> dict[str, Any]:
        """[code] Whoever has these can drive the browser: they hold the seed, as every secret here does."""
        secret = f"bctrl-connect-{self._account.seed}-{run.run_id}"
        return {
            "cdpUrl": f"wss://connect.bctrl.example/cdp?token={secret}",
            "webdriverUrl": f"https://connect.bctrl.example/wd/{secret}",
            "expiresAt": stamp(now() + timedelta(seconds=CONNECTION_SECONDS)),
        }


def _all(call: Call, name: str) -> list[str]:
    return call.query.getall(name, [])


def _time(call: Call, name: str) -> datetime | None:
    text = call.query.get(name)
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Refused(400, f"{name} is not a time") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
