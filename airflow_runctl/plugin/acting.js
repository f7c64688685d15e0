// The dialogue in which runs are stopped or resumed: what is meant and what it means, a reason, progress, outcomes.

import { ask } from "./asking.js";
import { Badge, Button, Command, Dialogue, Field, Fragment, Input, Notice, h, takeFocus, useEffect, useRef, useState } from "./parts.js";
import { nameOf, offer, outcomes, placeOf, progressOf, taskOf } from "./pure.js";
import { T } from "./texts.js";

const WAIT = 20; // seconds for a kill, and again for what is then stopped directly: many a proxy cuts a call after 60
const LOOK = 1500; // milliseconds between two looks at how far it is
const MOST = 100; // runs of one request

const chunks = (runs) => Array.from({ length: Math.ceil(runs.length / MOST) }, (_, n) => runs.slice(n * MOST, (n + 1) * MOST));

const Listed = ({ run, children }) => h("li", null, h("strong", null, nameOf(run)), " ", run.what, " ", h("span", { className: "xr-muted" }, taskOf(run)), " ", children);

export function Acting({ act, runs, looks, ways, onClose, onDone }) {
  const [chosen] = useState(runs);
  const can = chosen.filter((run) => offer(act, run, ways, looks?.[taskOf(run)]) === "go");
  const cannot = chosen.filter((run) => !can.includes(run));
  const [reason, setReason] = useState("");
  const [doing, setDoing] = useState(null);
  const [came, setCame] = useState(null);
  const [error, setError] = useState(null);
  const busy = useRef(false);

  const go = async () => {
    if (busy.current) return;
    busy.current = true;
    setError(null);
    setDoing(can.map(() => "wait"));
    try {
      const said = await Promise.all(
        chunks(can).map((some) => ask(act, { body: { runs: some.map(placeOf), reason: reason.trim(), timeout: WAIT } })),
      );
      const answer = { runs: said.flatMap((one) => one.runs), dag_run_ids: said.flatMap((one) => one.dag_run_ids) };
      setCame({ each: outcomes(can, answer), dagRunIds: answer.dag_run_ids });
      onDone();
    } catch (refused) {
      setError(refused);
    }
    setDoing(null);
    busy.current = false;
  };

  useEffect(() => {
    if (!doing || act !== "stop") return undefined;
    const query = new URLSearchParams(can.slice(0, MOST).map((run) => ["run_id", run.run_id]));
    const timer = setInterval(async () => {
      const listed = await ask(`runs?${query}`).catch(() => null);
      if (listed && busy.current) setDoing(progressOf(can, listed.runs));
    }, LOOK);
    return () => clearInterval(timer);
  }, [doing !== null]);

  const close = () => doing || onClose();
  const title = came ? T[act] : T.ask[act](can.length || chosen.length);
  const footer = came || !can.length
    ? h(Button, { kind: "main", isFirst: true, onClick: onClose }, T.close)
    : h(
        Fragment,
        null,
        h(Button, { onClick: close, disabled: Boolean(doing) }, T.cancel),
        h(Button, { kind: act === "stop" ? "danger" : "main", disabled: Boolean(doing) || !reason.trim(), onClick: go }, T.go[act](can.length)),
      );
  return h(
    Dialogue,
    { title, isDone: Boolean(came), onClose: close, footer },
    error && h(Notice, { kind: "error" }, error.message),
    came ? h(Came, { act, ...came }) : h(Meant, { act, can, doing, reason, setReason, go }),
    !came && cannot.length > 0 && h(Elsewhere, { act, runs: cannot, why: ways?.why }),
  );
}

function Meant({ act, can, doing, reason, setReason, go }) {
  if (!can.length) return null;
  const failing = act === "stop" ? can.filter((run) => run.ends_task).length : 0;
  const over = doing?.filter((one) => one === "over").length;
  const submit = (event) => {
    event.preventDefault();
    if (reason.trim()) go();
  };
  return h(
    "form",
    { onSubmit: submit },
    h("ul", { className: "xr-list", tabIndex: 0, "aria-label": T.title }, can.map((run, n) =>
      h(Listed, { key: n, run }, doing ? h(Badge, { kind: doing[n] === "over" ? "ok" : "plain" }, T.doing[doing[n]]) : act === "stop" && h("span", { className: "xr-muted" }, run.ends_task ? T.marksTask : run.standing === "orphan" ? T.orphanStop : "")),
    )),
    failing > 0 && h(Notice, { kind: "warning" }, T.willFail(failing)),
    doing
      ? h("p", { role: "status", tabIndex: -1, ref: takeFocus }, act === "stop" ? T.progress(over, can.length) : T.asking)
      : h(Field, { label: T.reason, hint: T.reasonHint }, (props) =>
          h(Input, { ...props, value: reason, maxLength: 300, required: true, autoFocus: true, autoComplete: "off", onChange: (event) => setReason(event.target.value) }),
        ),
  );
}

function Elsewhere({ act, runs, why }) {
  return h(
    "section",
    null,
    h("h3", null, T.cannot(runs.length)),
    why && h("p", { className: "xr-muted" }, why),
    h("p", null, T.onWorker),
    runs.map((run, n) => h(Command, { key: n, text: run.by_hand[act], name: nameOf(run) })),
  );
}

function Came({ act, each, dagRunIds }) {
  const doubt = each.some((one) => !one.ok);
  return h(
    "div",
    null,
    h(Notice, { kind: doubt ? "warning" : "success" }, T.came[act](each.filter((one) => one.ok).length, each.length), doubt && act === "stop" && h("div", null, T.mayBeAlive)),
    h("ul", { className: "xr-list", tabIndex: 0, "aria-label": T.outcome }, each.map(({ run, ok, words, error }, n) =>
      h(Listed, { key: n, run }, h("div", null, h(Badge, { kind: ok ? "ok" : "unclear" }, words)), error && h("div", null, error)),
    )),
    dagRunIds.length > 0 && h("p", { className: "xr-muted" }, T.by_dag, " ", dagRunIds.join(", ")),
  );
}
