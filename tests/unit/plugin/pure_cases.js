// What the pure functions of the page have to answer: rows of name, answer, and what it should be. Told to Node, or in
// a browser. The time is always NOON.

const NOON = Date.parse("2026-11-26T12:00:00Z");
const at = (seconds) => new Date(NOON + 1000 * seconds).toISOString();

const RUN = {
  dag_id: "nightly", dag_run_id: "m__2026-11-26T00:00:00+00:00", task_id: "load", map_index: -1, run_id: "r/1",
  try_number: 2, vendor: "axiom", conn_id: "axiom_default", owner_state: "running", standing: "owned", why: "its task is running",
  started_at: at(-90), vendor_state: null, vendor_state_at: null, state: null, stop: null, limits: {}, began_at: at(-80), deadlines: [],
  may_stop: true, ends_task: true, needs_way: false,
};
const STOP = { reason: "deadline", by: "notifier", text: "late", asked_at: at(-5), outcome: null, seconds: null };
const run = (more) => ({ ...RUN, ...more });
const due = (since, until) => ({ since: since === null ? null : at(since), until: at(until) });

export function cases(p) {
  const filter = (text) => p.readFilter(new URLSearchParams(text));
  const written = (text, more = {}) => p.writeFilter({ ...filter(text), ...more }, new URLSearchParams(text)).toString();
  const found = (text, ...runs) => runs.filter((one) => p.matches(one, filter(text))).map((one) => one.run_id);
  const order = (sort, ...runs) => p.sorted(runs, filter(`sort=${sort}`).sort, NOON).map((one) => one.run_id);
  const gone = p.merged([RUN, run({ run_id: "r2" })], [run({ age: 7 })], NOON);
  const story = (more) => p.storyOf(run(more)).map((one) => [one.what, one.more]);
  return [
    // Filters and addresses
    ["no filter is the default", p.isFiltered(filter("")), false],
    ["sorted by age by default", filter("").sort, { by: "age", down: true }],
    ["an unknown order is the default one", filter("sort=nonsense.desc").sort, { by: "age", down: true }],
    ["a filter comes back from its address", written("vendor=axiom&orphans=true&sort=limit"), "vendor=axiom&orphans=true&sort=limit"],
    ["what is not ours stays", written("tab=x&vendor=axiom", { vendor: "" }), "tab=x"],
    ["the default order is not written", written("sort=age.desc"), ""],
    ["by vendor", found("vendor=axiom", RUN, run({ run_id: "b", vendor: "bctrl" })), ["r/1"]],
    ["by state, where none is known", found("state=unknown", RUN, run({ run_id: "b", state: "running" })), ["r/1"]],
    ["by the task's state", found("owner_state=failed", RUN, run({ run_id: "b", owner_state: "failed" })), ["b"]],
    ["orphans and unclear ones", found("orphans=true", RUN, run({ run_id: "o", standing: "orphan" }), run({ run_id: "u", standing: "unclear" })), ["o", "u"]],
    ["words, wherever they stand", found("q=NIGHT+axiom", RUN, run({ run_id: "b", dag_id: "other" })), ["r/1"]],
    ["words of what runs", found("q=prices", RUN, run({ run_id: "b", what: "Scrape prices" })), ["b"]],
    ["choices are those that are there", p.choices([RUN, run({ vendor: "bctrl" }), RUN], "vendor"), ["axiom", "bctrl"]],
    // Order
    ["the oldest first", order("age.desc", RUN, run({ run_id: "old", started_at: at(-900) })), ["old", "r/1"]],
    ["the next limit first", order("limit", RUN, run({ run_id: "soon", deadlines: [due(-60, 5)] })), ["soon", "r/1"]],
    ["by what runs, the nameless first", order("what", run({ run_id: "b", what: "b" }), run({ run_id: "a", what: "a" }), RUN), ["r/1", "a", "b"]],
    ["orphans first", order("standing", RUN, run({ run_id: "o", standing: "orphan" })), ["o", "r/1"]],
    ["unknown ages last", order("age.desc", run({ run_id: "x", started_at: null }), RUN), ["r/1", "x"]],
    // Times
    ["seconds", p.span(59.4), "59 s"],
    ["minutes", p.span(65), "1 min 5 s"],
    ["many minutes", p.span(3599), "59 min"],
    ["hours", p.span(7260), "2 h 1 min"],
    ["days", p.span(90000), "1 d 1 h"],
    ["nothing is negative", p.span(-3), "0 s"],
    ["the limit that comes first counts", p.limitOf(run({ limits: { execution_timeout: { at: at(60), left: 60 } }, deadlines: [due(-30, 10)] }), NOON), { what: "deadline", left: 10, part: 0.75 }],
    ["a limit that has passed fills the bar", p.limitOf(run({ deadlines: [due(-90, -30)] }), NOON), { what: "deadline", left: -30, part: 1 }],
    ["a limit from nobody knows when", p.limitOf(run({ deadlines: [due(null, 30)] }), NOON), { what: "deadline", left: 30, part: 0 }],
    ["limits of the task", p.limitOf(run({ limits: { execution_timeout: { at: at(80), left: 80 } } }), NOON), { what: "execution_timeout", left: 80, part: 0.5 }],
    ["limits of the run", p.limitOf(run({ limits: { max_runtime: { at: at(30), left: 30 } } }), NOON), { what: "max_runtime", left: 30, part: 0.75 }],
    ["no limit", p.limitWords(null), "no limit known"],
    ["what is left", p.limitWords({ what: "deadline", left: 61 }), "1 min 1 s until the deadline"],
    ["what has passed", p.limitWords({ what: "deadline", left: -4 }), "deadline passed 4 s ago"],
    // What is known
    ["nothing is recorded", p.seenOf(RUN, undefined, NOON).word, "unknown"],
    ["what was recorded, and when", p.seenOf(run({ vendor_state: "Started", vendor_state_at: at(-65) }), undefined, NOON), { word: "Started", note: "recorded 1 min 5 s ago" }],
    ["a look outranks it", p.seenOf(run({ vendor_state: "Started" }), { now_state: "suspended", now_at: at(-1) }, NOON), { word: "suspended", note: "seen just now" }],
    ["a look that got no answer says why", p.seenOf(RUN, { now: "not asked: off", now_state: null }, NOON), { word: "unknown", note: "not asked: off" }],
    ["a stop that is meant", p.stopWords(STOP), "stop asked for: a deadline: late, by notifier"],
    ["a stop that came to something", p.stopWords({ ...STOP, outcome: "stopped", seconds: 1.5 }), "stopped: a deadline: late, by notifier, in 1.5 s"],
    ["an end without a record", p.endWords(undefined), null],
    ["an end without a stop", p.endWords({ stop: null, state: "succeeded" }), "succeeded"],
    // What may be done
    ["no right, no button", p.offer("stop", run({ may_stop: false }), { here: true }), null],
    ["nothing before it is known", p.offer("stop", run({ needs_way: true }), null), null],
    ["through the task there is always a way", p.offer("stop", RUN, { here: false, why: "no Dag" }), "go"],
    ["an orphan here", p.offer("stop", run({ needs_way: true }), { here: true, why: null }), "go"],
    ["an orphan by the Dag", p.offer("stop", run({ needs_way: true }), { here: false, why: null }), "go"],
    ["an orphan by nobody: the command", p.offer("stop", run({ needs_way: true }), { here: false, why: "no Dag" }), "command"],
    ["a run without an id", p.offer("stop", run({ run_id: null }), { here: true }), null],
    ["what runs is not resumed", p.offer("resume", run({ state: "running" }), { here: true }), null],
    ["what is suspended is", p.offer("resume", run({ state: "suspended" }), { here: true }), "go"],
    ["what a look shows as suspended is", p.offer("resume", RUN, { here: true }, { now_state: "suspended" }), "go"],
    ["a look that shows it running says no", p.offer("resume", run({ state: "suspended" }), { here: true }, { now_state: "running" }), null],
    // From answer to answer
    ["what did not change is the same object", gone[0] === RUN, true],
    ["what is gone stays, as over", gone.map((one) => [one.run_id, one.gone ?? null]), [["r/1", null], ["r2", NOON]]],
    ["once over, always over", p.merged(gone, [], NOON + 5).map((one) => one.gone), [NOON + 5, NOON]],
    ["what comes back is alive", p.merged(gone, [RUN, run({ run_id: "r2" })], NOON).map((one) => one.gone ?? null), [null, null]],
    ["what was over by then", p.outcomes([RUN], { runs: [] }).map((one) => [one.ok, one.words]), [[true, "was over by then; nothing was done"]]],
    ["an outcome in words", p.outcomes([run({ map_index: 3 })], { runs: [{ task: `${p.taskOf(RUN)}[3]`, done: "stopped directly", outcome: "stopped", seconds: 2, error: null }] }).map((one) => [one.ok, one.words]), [[true, "stopped, directly, in 2 s"]]],
    ["an outcome in doubt", p.outcomes([RUN], { runs: [{ task: p.taskOf(RUN), done: "nothing", outcome: null, seconds: null, error: "why" }] }).map((one) => [one.ok, one.words, one.error]), [[false, "nothing was done", "why"]]],
    ["how far a stop is", p.progressOf([RUN, run({ run_id: "a" }), run({ run_id: "b" })], [RUN, run({ run_id: "a", stop: STOP })]), ["wait", "asked", "over"]],
    // Stories, links, refusals
    ["a story of a stop", story({ events: [{ event: "stop", why: "deadline: too late", by: "notifier", outcome: "stopped", seconds: 1.5 }] }), [["started", ""], ["stop", "a deadline: too late, by notifier, stopped, in 1.5 s"]]],
    ["a story from events", story({ events: [{ event: "taken_over", at: at(0), why: "left by attempt 1", by: "worker", try_number: 2, run_id: "r/1" }, { event: "odd", seconds: 0 }] }), [["started", ""], ["taken over", "try 2, left by attempt 1, by worker"], ["odd", "in 0 s"]]],
    ["a start that is told once", story({ events: [{ event: "started", at: at(-89), by: "worker" }] }), [["started", "by worker"]]],
    ["no events: the start", story({ events: [] }), [["started", ""]]],
    ["links into Airflow", p.linksOf(run({ map_index: 3, dag_id: "a b" })).attempt, "/dags/a%20b/runs/m__2026-11-26T00%3A00%3A00%2B00%3A00/tasks/load/mapped/3?try_number=2"],
    ["an address that is none", [p.safeUrl("javascript:alert(1)"), p.safeUrl(null), p.safeUrl("https://x")], [null, null, "https://x"]],
    ["a name without an id", p.nameOf(run({ run_id: null })), `a run of ${p.taskOf(RUN)}`],
    ["a refusal with its reason", p.refusalWords(403, "The login lacks it."), "You lack the right for this. The login lacks it."],
    ["a refusal of a field", p.refusalWords(422, [{ msg: "too long" }]), "The API server answered HTTP 422. too long"],
    ["no answer", p.refusalWords(0, undefined), "Airflow's API server does not answer."],
    ["a session that is over", p.refusalWords(401, "Not authenticated"), "Your session is over."],
  ];
}
