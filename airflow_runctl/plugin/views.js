// The two views: the list of runs that may be alive, and what became of the runs of a Dag run or a task instance.

import { Acting } from "./acting.js";
import { ask, loginAddress, useAnswers } from "./asking.js";
import {
  Badge, Bar, Button, Command, Field, Fragment, Input, Link, Notice, Out, Select,
  h, join, memo, useCallback, useEffect, useMemo, useLocation, useRef, useState,
} from "./parts.js";
import {
  NO_FILTER, ageOf, choices, endWords, isFiltered, keyOf, limitOf, limitWords, linksOf, matches, merged, nameOf, offer,
  readFilter, safeUrl, seenOf, sorted, span, stopWords, storyOf, taskOf, writeFilter,
} from "./pure.js";
import { T } from "./texts.js";

const DAYS = 7;
const SLOWLY = 60000; // milliseconds between two answers about what changes seldom
const TYPING = 300; // milliseconds
const clock = (at) => new Date(at).toLocaleTimeString();
const moment = (at) => (at ? new Date(at).toLocaleString() : T.unknown);

const query = (fields) => new URLSearchParams(Object.entries(fields).filter(([, value]) => value !== undefined && value !== ""));

/** What stands above each view: how old it is, and what went wrong. */
function Freshness({ known }) {
  const { data, error, at, again } = known;
  if (!error) return null;
  const title = data ? T.stale(clock(at)) : T.failed;
  const isOver = error.status === 401;
  return h(Notice, { kind: "error", title }, h("div", null, error.message, " ", !isOver && T.nextTry), h("div", { className: "xr-acts" }, isOver && h("a", { href: loginAddress() }, T.login), h(Button, { kind: "small", onClick: again }, T.retry)));
}

const Quiet = ({ title, hint, children }) => h("div", { className: "xr-quiet", role: "status" }, h("h2", null, title), hint && h("p", { className: "xr-muted" }, hint), children);

// -- live runs ---------------------------------------------------------------------------------------------

export function Live({ dagId, taskId }) {
  const [filter, change] = useFilter();
  const path = `runs?${query({ dag_id: dagId, task_id: taskId })}`;
  const known = useAnswers(path, (answer, before) => merged(before ?? [], answer.runs, Date.now()));
  const ways = useAnswers("ways", (answer) => answer, SLOWLY).data;
  const [selected, setSelected] = useState(() => new Set());
  const [acting, setActing] = useState(null);
  const [looks, look] = useLooks();
  const ends = useEnds(known.data);
  const now = Date.now();

  const all = known.data ?? [];
  const shown = useMemo(() => sorted(all.filter((run) => matches(run, filter)), filter.sort, now), [known.data, filter]);
  const alive = shown.filter((run) => !run.gone);
  const selectable = alive.filter((run) => run.may_stop && run.run_id);
  const chosen = selectable.filter((run) => selected.has(keyOf(run)));
  const mayAct = all.some((run) => run.may_stop);

  const toggle = useCallback((key) => setSelected((before) => {
    const next = new Set(before);
    next.delete(key) || next.add(key);
    return next;
  }), []);
  const act = useCallback((what, runs) => setActing({ act: what, runs }), []);

  return h(
    Fragment,
    null,
    h("div", { className: "xr-head" },
      h("div", null, h(dagId ? "h2" : "h1", null, T.title), h("div", { className: "xr-muted" }, T.lead)),
      h("div", { className: "xr-muted", role: "status" }, known.data && T.count(alive.length, all.filter((run) => !run.gone).length), " ", known.at && h("span", { "aria-hidden": true }, T.refreshed(clock(known.at)))),
      h(Button, { onClick: known.again }, T.refresh)),
    h(Freshness, { known }),
    all.length > 0 && h(Filters, { runs: all, filter, change, dagId }),
    (mayAct || all.some((run) => run.gone)) && h("div", { className: "xr-tools" },
      mayAct && h(Button, { kind: "danger", disabled: !chosen.length, onClick: () => act("stop", chosen) }, T.stopSelected(chosen.length)),
      all.some((run) => run.gone) && h(Button, { onClick: () => known.change((runs) => runs.filter((run) => !run.gone)) }, T.hideOver)),
    !known.data && !known.error && h(Quiet, { title: T.loading }),
    known.data && !all.length && h(Quiet, { title: T.empty, hint: T.emptyHint }),
    all.length > 0 && !shown.length && h(Quiet, { title: T.noMatch }, h(Button, { onClick: () => change(NO_FILTER) }, T.clearFilter)),
    shown.length > 0 && h(Table, { shown, filter, change, dagId, taskId, now, selected, toggle, setSelected, selectable, mayAct, ways, looks, look, ends, act }),
    h(Days, { dagId }),
    acting && h(Acting, { ...acting, ways, looks, onClose: () => setActing(null), onDone: () => { setSelected(new Set()); known.again(); } }),
  );
}

/**
 * The filter, which is in the address too. Not through the router: up to 3.2 Airflow makes the whole page anew when
 * that has another address, with all that is selected, and the focus is lost.
 */
function useFilter() {
  const read = () => readFilter(new URLSearchParams(location.search));
  const [filter, setFilter] = useState(read);
  const { key } = useLocation();
  useEffect(() => setFilter(read()), [key]);
  const change = useCallback((more) => setFilter((before) => {
    const next = { ...before, ...more };
    const written = writeFilter(next, new URLSearchParams(location.search)).toString();
    history.replaceState(history.state, "", `${location.pathname}${written && `?${written}`}${location.hash}`);
    return next;
  }), []);
  return [filter, change];
}

function Filters({ runs, filter, change, dagId }) {
  const select = (name, label, words) => h(Select, { key: name, label, words, value: filter[name], options: choices(runs, name), onChange: (value) => change({ [name]: value }) });
  return h("div", { className: "xr-filter", role: "search" },
    h(Search, { q: filter.q, change }),
    select("vendor", T.vendor), select("conn_id", T.connection), !dagId && select("dag_id", T.dag), select("state", T.state, T.states), select("owner_state", T.owner),
    h("label", { className: "xr-check" }, h("input", { type: "checkbox", checked: filter.orphans, onChange: (event) => change({ orphans: event.target.checked }) }), T.orphansOnly),
    isFiltered(filter) && h(Button, { onClick: () => change(NO_FILTER) }, T.clearFilter));
}

/** What is typed is in the address once nothing more is typed. */
function Search({ q, change }) {
  const [text, setText] = useState(q);
  const latest = useRef(change);
  latest.current = change;
  useEffect(() => setText(q), [q]);
  useEffect(() => {
    if (text === q) return undefined;
    const timer = setTimeout(() => latest.current({ q: text }), TYPING);
    return () => clearTimeout(timer);
  }, [text]);
  return h(Field, { label: T.search }, (props) => h(Input, { ...props, type: "search", placeholder: T.searchHint, value: text, onChange: (event) => setText(event.target.value) }));
}

function Table({ shown, filter, change, dagId, taskId, now, selected, toggle, setSelected, selectable, mayAct, ways, looks, look, ends, act }) {
  const head = (by, label) => {
    const mine = filter.sort.by === by;
    const down = mine ? !filter.sort.down : by === "age";
    return h("th", { key: by, scope: "col", "aria-sort": mine ? (filter.sort.down ? "descending" : "ascending") : "none" },
      h("button", { type: "button", className: "xr-sort", title: T.sortBy(label), onClick: () => change({ sort: { by, down } }) }, label, h("span", { "aria-hidden": true }, mine ? (filter.sort.down ? " ↓" : " ↑") : "")));
  };
  const isAll = selectable.length > 0 && selectable.every((run) => selected.has(keyOf(run)));
  const all = () => setSelected(isAll ? new Set() : new Set(selectable.map(keyOf)));
  return h("div", { className: "xr-scroll", role: "region", tabIndex: 0, "aria-label": T.title },
    h("table", { className: "xr-wide" },
      h("thead", null, h("tr", null,
        mayAct && h("th", { scope: "col" }, h("input", { type: "checkbox", "aria-label": T.selectAll, checked: isAll, onChange: all })),
        head("run", T.run), head("what", T.whatRuns), head("task", T.task), head("state", T.state), head("age", T.age), head("limit", T.limit), head("standing", T.standing), h("th", { scope: "col" }, T.actions))),
      h("tbody", null, shown.map((run) => {
        const key = keyOf(run);
        const seen = seenOf(run, looks[taskOf(run)], now);
        const limit = limitOf(run, now);
        return h(Row, {
          key, id: key, run, act, toggle, look, mayAct, dagId, taskId,
          selected: selected.has(key),
          age: run.started_at ? span(ageOf(run, now)) : T.unknown,
          seenWord: seen.word, seenNote: seen.note,
          part: limit && Math.round(limit.part * 100) / 100, late: limit?.left <= 0, limit: limitWords(limit),
          stop: offer("stop", run, ways), resume: offer("resume", run, ways, looks[taskOf(run)]),
          canLook: Boolean(ways?.here), looking: looks[taskOf(run)] === "looking",
          end: run.gone ? ends[key] ?? T.overNow : null,
        });
      }))));
}

const Row = memo(function Row({ id, run, act, toggle, look, mayAct, dagId, taskId, selected, age, seenWord, seenNote, part, late, limit, stop, resume, canLook, looking, end }) {
  const links = linksOf(run);
  const name = nameOf(run);
  const url = safeUrl(run.url);
  const [command, setCommand] = useState(false);
  const cell = (label, ...children) => h("td", { "data-name": label }, h("div", { className: "xr-cell" }, ...children));
  const muted = (text) => text && h("span", { className: "xr-muted" }, text);
  return h("tr", { className: end ? "xr-gone" : undefined, "data-run": run.run_id },
    mayAct && h("td", null, !end && run.may_stop && run.run_id && h("input", { type: "checkbox", "aria-label": T.select(name), checked: selected, onChange: () => toggle(id) })),
    cell(T.run,
      h("span", null, h("strong", null, run.vendor ?? T.unknown), " ", muted(run.conn_id)),
      url ? h(Out, { to: url, "aria-label": T.atVendor(name) }, run.run_id ?? T.noId) : h("span", null, run.run_id ?? T.noId)),
    cell(T.whatRuns, run.what ? h("span", null, run.what) : muted(T.noName)),
    cell(T.task,
      !dagId && h(Link, { to: links.dag }, run.dag_id),
      h(Link, { to: links.dagRun, className: "xr-fine" }, run.dag_run_id),
      h("span", null, !taskId || run.map_index >= 0 ? h(Link, { to: links.task }, run.task_id, run.map_index >= 0 ? T.mapped(run.map_index) : "") : null, " ", run.try_number && h(Link, { to: links.attempt, className: "xr-short" }, T.attempt(run.try_number)))),
    cell(T.state, end ? h("span", null, end) : h(Fragment, null, h("span", null, seenWord), muted(seenNote)), !end && run.stop && h("strong", null, stopWords(run.stop))),
    cell(T.age, h("span", { className: "xr-short" }, age)),
    cell(T.limit, end ? null : h(Fragment, null, part !== null && h(Bar, { part, words: limit }), h("span", { className: late ? "xr-late" : "xr-muted" }, limit))),
    cell(T.standing, end ? h(Badge, { kind: "ok" }, T.over) : h(Badge, { kind: run.standing }, T.standings[run.standing] ?? run.standing), muted(end ? null : run.why)),
    h("td", { "data-name": T.actions }, h("div", { className: "xr-acts" },
      !end && stop === "go" && h(Button, { kind: "small", "aria-label": T.stopOne(name), onClick: () => act("stop", [run]) }, T.stop),
      !end && resume === "go" && h(Button, { kind: "small", "aria-label": T.resumeOne(name), onClick: () => act("resume", [run]) }, T.resume),
      !end && (stop === "command" || resume === "command") && h(Button, { kind: "small", "aria-expanded": command, "aria-label": T.commandFor(name), onClick: () => setCommand(!command) }, T.command),
      !end && canLook && h(Button, { kind: "small", "aria-label": T.lookAt(name), disabled: looking, onClick: () => look(run) }, looking ? T.looking : T.look),
      h(Link, { to: links.history, "aria-label": T.historyOf(name) }, T.history)),
      command && stop === "command" && h(Command, { text: run.by_hand.stop, name }),
      command && resume === "command" && h(Command, { text: run.by_hand.resume, name })));
});

/** Looks at vendors, by the place of the run. */
function useLooks() {
  const [looks, setLooks] = useState({});
  const look = useCallback(async (run) => {
    const place = taskOf(run);
    setLooks((before) => ({ ...before, [place]: "looking" }));
    let seen;
    try {
      const answer = await ask(`runs/${run.run_id.split("/").map(encodeURIComponent).join("/")}`);
      seen = answer.runs.find((one) => taskOf(one) === place);
    } catch (error) {
      seen = { now: error.message };
    }
    setLooks((before) => ({ ...before, [place]: seen }));
  }, []);
  return [looks, look];
}

/** What became of the runs that are gone from the list, by their records. */
function useEnds(runs) {
  const [ends, setEnds] = useState({});
  const asked = useRef(new Set());
  useEffect(() => {
    for (const run of (runs ?? []).filter((one) => one.gone)) {
      const key = keyOf(run);
      if (asked.current.has(key)) continue;
      asked.current.add(key);
      const { dag_id, dag_run_id, task_id, map_index } = run;
      ask(`history?${query({ dag_id, dag_run_id, task_id, map_index })}`)
        .then(({ records }) => records.find((record) => record.run_id === run.run_id))
        .then((record) => setEnds((before) => ({ ...before, [key]: endWords(record) ?? T.overUnknown })))
        .catch(() => asked.current.delete(key));
    }
  }, [runs]);
  return ends;
}

// -- what became of runs -----------------------------------------------------------------------------------

export function History({ dagId, runId, taskId, mapIndex }) {
  const path = `history?${query({ dag_id: dagId, dag_run_id: runId, task_id: taskId, map_index: mapIndex })}`;
  const known = useAnswers(path, (answer) => answer);
  const ways = useAnswers("ways", (answer) => answer, SLOWLY).data;
  const [acting, setActing] = useState(null);
  const records = known.data?.records ?? [];
  return h(
    Fragment,
    null,
    h("div", { className: "xr-head" }, h("h2", null, T.title), known.at && h("span", { className: "xr-muted" }, T.refreshed(clock(known.at))), h(Button, { onClick: known.again }, T.refresh)),
    h(Freshness, { known }),
    !known.data && !known.error && h(Quiet, { title: T.loading }),
    known.data && !records.length && h(Quiet, { title: T.emptyHere, hint: T.emptyHereHint }),
    records.map((record) => h(Card, { key: keyOf(record), record, ways, showTask: !taskId, act: (act, run) => setActing({ act, runs: [run] }) })),
    known.data && !known.data.is_all && h(Notice, null, T.truncated),
    acting && h(Acting, { ...acting, ways, onClose: () => setActing(null), onDone: known.again }),
  );
}

function Card({ record, ways, showTask, act }) {
  const { live } = record;
  const now = Date.now();
  const name = nameOf(record);
  const url = safeUrl(record.url);
  const limit = live && limitOf(live, now);
  const seen = live && seenOf(live, null, now);
  return h("article", { className: "xr-card", "aria-label": name },
    h("div", { className: "xr-head" },
      h("div", null,
        h("h2", null, record.vendor ?? T.unknown, " ", url ? h(Out, { to: url, "aria-label": T.atVendor(name) }, record.run_id) : record.run_id ?? T.noId),
        record.what && h("div", null, record.what),
        h("div", { className: "xr-muted" }, record.conn_id, " ", showTask && h(Link, { to: linksOf(record).history }, taskOf(record)))),
      live ? h(Badge, { kind: live.standing === "owned" ? "plain" : live.standing }, T.alive, ", ", T.standings[live.standing]) : h(Badge, { kind: "ok" }, T.over),
      live && offer("stop", live, ways) === "go" && h(Button, { kind: "danger", "aria-label": T.stopOne(name), onClick: () => act("stop", live) }, T.stop),
      live && offer("resume", live, ways) === "go" && h(Button, { kind: "main", "aria-label": T.resumeOne(name), onClick: () => act("resume", live) }, T.resume)),
    live && h("p", null, T.state, ": ", seen.word, " (", seen.note, "). ", live.why, ". ", h("span", { className: limit?.left <= 0 ? "xr-late" : undefined }, limitWords(limit))),
    live && offer("stop", live, ways) === "command" && h(Command, { text: live.by_hand.stop, name }),
    live && offer("resume", live, ways) === "command" && h(Command, { text: live.by_hand.resume, name }),
    h("div", { className: "xr-scroll", role: "region", tabIndex: 0, "aria-label": T.storyOf(name) }, h("table", null,
      h("thead", null, h("tr", null, h("th", { scope: "col" }, T.when), h("th", { scope: "col" }, T.what), h("th", { scope: "col" }, T.more))),
      h("tbody", null, storyOf(record).map((one, n) => h("tr", { key: n }, h("td", null, one.at ? h("time", { dateTime: one.at }, moment(one.at)) : T.unknown), h("td", null, one.what), h("td", null, one.more)))))),
    h("p", { className: "xr-muted" }, T.recordedOnly));
}

function Days({ dagId }) {
  const [open, setOpen] = useState(false);
  const known = useAnswers(open ? `stops?${query({ days: DAYS, dag_id: dagId })}` : null, (answer) => answer, SLOWLY);
  const sum = known.data;
  const took = (seconds) => (seconds === null ? T.notYet : span(seconds));
  const table = (heads, rows) => h("div", { className: "xr-scroll", role: "region", tabIndex: 0, "aria-label": heads.join(", ") }, h("table", null, h("thead", null, h("tr", null, heads.map((head) => h("th", { key: head, scope: "col" }, head)))), h("tbody", null, rows.map((row, n) => h("tr", { key: n }, row.map((one, m) => h("td", { key: m }, one)))))));
  return h("details", { onToggle: (event) => setOpen(event.target.open) },
    h("summary", null, T.days(DAYS)),
    h("p", { className: "xr-muted" }, T.sumHint),
    open && h(Freshness, { known }),
    open && !sum && !known.error && h("p", { role: "status" }, T.loading),
    sum && !sum.records && h("p", null, T.noRecords),
    sum?.stops.length > 0 && h(Fragment, null, h("h3", null, T.sumStops), table([T.why, T.outcome, T.number, T.median], sum.stops.map((one) => [T.reasons[one.reason] ?? one.reason, one.outcome ? T.outcomes[one.outcome] ?? one.outcome : T.notYet, one.count, took(one.median)]))),
    sum?.lengths.length > 0 && h(Fragment, null, h("h3", null, T.sumLengths), table([T.vendor, T.state, T.number, T.median, T.longest], sum.lengths.map((one) => [one.vendor, T.states[one.state] ?? one.state, one.count, took(one.median), took(one.longest)]))),
    sum && !sum.is_all && h("p", { className: "xr-muted" }, T.truncated));
}
