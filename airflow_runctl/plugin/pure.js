// What needs neither a browser nor React: filters and addresses, order, ages and limits, words for what happened.

import { T } from "./texts.js";

// -- places ------------------------------------------------------------------------------------------------

export const placeOf = ({ dag_id, dag_run_id, task_id, map_index, run_id }) => ({
  dag_id,
  dag_run_id,
  task_id,
  map_index,
  run_id,
});

export const keyOf = (run) => JSON.stringify([...Object.values(placeOf(run)), run.started_at]);

/** The name of a task instance as the API's answers have it. */
export const taskOf = ({ dag_id, dag_run_id, task_id, map_index }) =>
  `${dag_id}/${dag_run_id}/${task_id}${map_index < 0 ? "" : `[${map_index}]`}`;

export const nameOf = (run) => (run.run_id ? `${run.vendor ?? ""} run ${run.run_id}`.trim() : `a run of ${taskOf(run)}`);

const path = (...parts) => parts.map(encodeURIComponent).join("/");

/** Addresses in Airflow's UI, below its base path. */
export function linksOf({ dag_id, dag_run_id, task_id, map_index, try_number }) {
  const dag = `/dags/${path(dag_id)}`;
  const dagRun = `${dag}/runs/${path(dag_run_id)}`;
  const task = `${dagRun}/tasks/${path(task_id)}${map_index < 0 ? "" : `/mapped/${map_index}`}`;
  const attempt = try_number ? `${task}?try_number=${try_number}` : task;
  return { dag, dagRun, task, attempt, history: `${task}/plugin/external-runs-of-task-instance` };
}

/** An address that may be a link: whoever may write XComs could have put a script there. */
export const safeUrl = (url) => (/^https?:\/\//i.test(url ?? "") ? url : null);

// -- the filter, and the address ---------------------------------------------------------------------------

const FIELDS = ["vendor", "conn_id", "dag_id", "state", "owner_state", "q"];
export const SORTS = ["run", "what", "task", "state", "age", "limit", "standing"];
export const NO_FILTER = { vendor: "", conn_id: "", dag_id: "", state: "", owner_state: "", q: "", orphans: false };

export function readFilter(params) {
  const filter = Object.fromEntries(FIELDS.map((name) => [name, params.get(name) ?? ""]));
  const [by, down] = (params.get("sort") ?? "").split(".");
  return {
    ...filter,
    orphans: params.get("orphans") === "true",
    sort: SORTS.includes(by) ? { by, down: down === "desc" } : { by: "age", down: true },
  };
}

/** Write a filter over what an address has; what is not ours in it stays. */
export function writeFilter(filter, params) {
  const written = new URLSearchParams(params);
  for (const name of FIELDS) filter[name] ? written.set(name, filter[name]) : written.delete(name);
  filter.orphans ? written.set("orphans", "true") : written.delete("orphans");
  const { by, down } = filter.sort;
  by === "age" && down ? written.delete("sort") : written.set("sort", down ? `${by}.desc` : by);
  return written;
}

export const isFiltered = (filter) => Object.entries(NO_FILTER).some(([name, none]) => filter[name] !== none);

export const stateWord = (run) => run.state ?? (run.vendor_state ? "unknown" : "");

export function matches(run, filter) {
  const words = filter.q.toLowerCase().split(/\s+/).filter(Boolean);
  const text = [run.run_id, run.what, run.vendor, run.conn_id, taskOf(run), run.why].join(" ").toLowerCase();
  return (
    ["vendor", "conn_id", "dag_id", "owner_state"].every((name) => !filter[name] || run[name] === filter[name]) &&
    (!filter.state || (stateWord(run) || "unknown") === filter.state) &&
    (!filter.orphans || run.standing !== "owned") &&
    words.every((word) => text.includes(word))
  );
}

export function choices(runs, name) {
  const of = name === "state" ? (run) => stateWord(run) || "unknown" : (run) => run[name];
  return [...new Set(runs.map(of).filter(Boolean))].sort();
}

const STANDINGS = { orphan: 0, unclear: 1, owned: 2 };

const SORT_KEYS = {
  run: (run) => `${run.vendor} ${run.run_id}`,
  what: (run) => run.what ?? "",
  task: taskOf,
  state: (run) => stateWord(run),
  age: (run, now) => ageOf(run, now) ?? -1,
  limit: (run, now) => limitOf(run, now)?.left ?? Infinity,
  standing: (run) => STANDINGS[run.standing] ?? 3,
};

export function sorted(runs, { by, down }, now) {
  const keyed = runs.map((run) => [SORT_KEYS[by](run, now), keyOf(run), run]);
  const order = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
  keyed.sort((a, b) => (down ? -1 : 1) * order(a[0], b[0]) || order(a[1], b[1]));
  return keyed.map((one) => one[2]);
}

// -- times -------------------------------------------------------------------------------------------------

const seconds = (from, to) => (to - Date.parse(from)) / 1000;

export const ageOf = (run, now) => (run.started_at ? Math.max(0, seconds(run.started_at, now)) : null);

/** A time span in words, two units at most. */
export function span(length) {
  const s = Math.max(0, Math.round(length));
  const two = (big, unit, small, rest) => (small ? `${big} ${unit} ${small} ${rest}` : `${big} ${unit}`);
  if (s < 60) return `${s} s`;
  if (s < 3600) return two(Math.floor(s / 60), "min", s < 600 ? s % 60 : 0, "s");
  if (s < 86400) return two(Math.floor(s / 3600), "h", Math.floor((s % 3600) / 60), "min");
  return two(Math.floor(s / 86400), "d", Math.floor((s % 86400) / 3600), "h");
}

/** The limit that ends a run first: how much of it is used up (0 to 1), and the seconds that are left. */
export function limitOf(run, now) {
  const since = { max_runtime: run.started_at, execution_timeout: run.began_at };
  const own = Object.entries(run.limits ?? {}).map(([what, { at }]) => ({ what, since: since[what], until: at }));
  const due = (run.deadlines ?? []).map((one) => ({ what: "deadline", ...one }));
  const all = [...own, ...due].map(({ what, since, until }) => {
    const left = -seconds(until, now);
    const whole = since ? (Date.parse(until) - Date.parse(since)) / 1000 : NaN;
    const part = whole > 0 ? Math.min(1, Math.max(0, 1 - left / whole)) : left > 0 ? 0 : 1;
    return { what, left, part };
  });
  return all.sort((a, b) => a.left - b.left)[0] ?? null;
}

export function limitWords(limit) {
  if (!limit) return T.noLimit;
  const what = T.limits[limit.what] ?? limit.what;
  return limit.left > 0 ? T.left(what, span(limit.left)) : T.passed(what, span(-limit.left));
}

// -- what is known of a run --------------------------------------------------------------------------------

/** The state at the vendor: a word, and where that is from. A look just now outranks what was recorded. */
export function seenOf(run, look, now) {
  if (look === "looking") look = null;
  if (look?.now_state) {
    const ago = seconds(look.now_at, now);
    return { word: T.states[look.now_state] ?? look.now_state, note: ago < 3 ? T.seenNow : T.seen(span(ago)) };
  }
  if (look) return { word: T.unknown, note: look.now };
  if (!run.vendor_state) return { word: T.unknown, note: T.notRecorded };
  const note = run.vendor_state_at ? T.recorded(span(seconds(run.vendor_state_at, now))) : "";
  return { word: run.vendor_state, note };
}

export function stopWords(stop) {
  if (!stop) return null;
  const reason = [T.reasons[stop.reason] ?? stop.reason, stop.text].filter(Boolean).join(": ");
  const outcome = stop.outcome && (T.outcomes[stop.outcome] ?? stop.outcome);
  const took = typeof stop.seconds === "number" && outcome ? T.inSeconds(stop.seconds) : null;
  return [outcome ? `${outcome}: ${reason}` : T.stopAsked(reason), T.by(stop.by), took].filter(Boolean).join(", ");
}

/** What an over run came to, by its record. */
export const endWords = (record) =>
  stopWords(record?.stop) ?? (record?.state ? T.states[record.state] ?? record.state : null);

/** What may be offered: null, or how; "command" where nothing can be done from here but say what to type. */
export function offer(act, run, ways, look) {
  if (!run.may_stop || !run.run_id) return null;
  if (act === "resume" && (look?.now_state ?? run.state) !== "suspended") return null;
  const way = (act === "stop" && !run.needs_way) || ways?.here || (ways && !ways.why);
  return way ? "go" : ways ? "command" : null;
}

// -- from one answer to the next ---------------------------------------------------------------------------

/** A run without what moves by itself: its age, and what is left of its limits. */
const still = (run) => JSON.stringify(run, (name, value) => (name === "age" || name === "left" ? undefined : value));

/**
 * Put a new answer over what is shown: what did not change stays the same object, and what is gone stays in its place
 * as over, until it is hidden.
 */
export function merged(before, runs, now) {
  const old = new Map(before.map((run) => [keyOf(run), run]));
  const next = runs.map((run) => {
    const same = old.get(keyOf(run));
    old.delete(keyOf(run));
    return same && !same.gone && still(same) === still(run) ? same : run;
  });
  const gone = [...old.values()].map((run) => (run.gone ? run : { ...run, gone: now }));
  return [...next, ...gone];
}

/** What became of each run that was chosen: the answer says nothing of those that were over by then. */
export function outcomes(chosen, answer) {
  const told = new Map(answer.runs.map((one) => [one.task, one]));
  return chosen.map((run) => {
    const one = told.get(taskOf(run));
    if (!one) return { run, ok: true, words: T.wasOver };
    const how = T.done[one.done] ?? one.done;
    const outcome = one.outcome && (T.outcomes[one.outcome] ?? one.outcome);
    const took = outcome && typeof one.seconds === "number" ? T.inSeconds(one.seconds) : null;
    const ok = ["stopped", "already_finished", "resumed"].includes(one.outcome);
    const words = outcome || one.done === "nothing" ? [outcome, how, took] : [T.inVain, how];
    return { run, ok, words: words.filter(Boolean).join(", "), error: one.error };
  });
}

/** How far a stop is, by what is listed meanwhile. */
export function progressOf(chosen, listed) {
  const now = new Map(listed.map((run) => [keyOf(run), run]));
  return chosen.map((run) => {
    const still = now.get(keyOf(run));
    return !still ? "over" : still.stop ? "asked" : "wait";
  });
}

// -- the story of a run ------------------------------------------------------------------------------------

/** What happened, the oldest first: the recorded events, and the start in any case. */
export function storyOf(record) {
  const began = { event: "started", at: record.started_at };
  const isTold = !record.started_at || record.events.some((event) => event.event === "started");
  return (isTold ? record.events : [began, ...record.events]).map((event) => ({
    at: event.at,
    what: T.events[event.event] ?? event.event,
    more: [
      event.try_number && T.attempt(event.try_number),
      event.vendor_state ?? event.state,
      event.why && reasonWords(event.why),
      event.by && T.by(event.by),
      event.outcome && (T.outcomes[event.outcome] ?? event.outcome),
      typeof event.seconds === "number" && T.inSeconds(event.seconds),
      event.error,
      event.run_id && event.run_id !== record.run_id && event.run_id,
    ].filter(Boolean).join(", "),
  }));
}

/** The reason of a stop, and what somebody said to it: by_hand, or by_hand: costs too much. */
function reasonWords(why) {
  const [reason, ...text] = why.split(": ");
  return [T.reasons[reason] ?? reason, ...text].join(": ");
}

// -- refusals ----------------------------------------------------------------------------------------------

/** A refusal in words: what kind it is, and what the answer says. */
export function refusalWords(status, detail) {
  const said = Array.isArray(detail) ? detail.map((one) => one.msg ?? "").join("; ") : detail;
  const kind = T.status[status] ?? T.httpStatus(status);
  return said && status !== 401 ? `${kind} ${said}` : kind;
}
