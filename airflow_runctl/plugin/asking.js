// How the API is asked: below the document's base path, as whoever is logged in to Airflow; again and again.

import { refusalWords } from "./pure.js";
import { useCallback, useEffect, useRef, useState } from "./parts.js";

const EVERY = 5000; // milliseconds between two answers
const SLOWEST = 60000; // after failures

const address = (path) => new URL(`runctl/${path}`, document.baseURI);

export class Refused extends Error {
  constructor(status, detail) {
    super(refusalWords(status, detail));
    this.status = status;
  }
}

export async function ask(path, { body, signal } = {}) {
  const post = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  let answer;
  try {
    answer = await fetch(address(path), { signal, credentials: "same-origin", ...(body ? post : {}) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0);
  }
  const said = await answer.json().catch(() => null);
  if (!answer.ok || said === null) throw new Refused(answer.status, said?.detail);
  return said;
}

export function loginAddress() {
  const login = new URL("api/v2/auth/login", document.baseURI);
  login.searchParams.set("next", location.href);
  return login.href;
}

/** Ask again and again while the page is looked at. What was answered stays while a further answer fails. */
export function useAnswers(path, take, every = EVERY) {
  const [known, setKnown] = useState({ data: null, error: null, at: null });
  const latest = useRef(take);
  latest.current = take;
  const [round, setRound] = useState(0);
  useEffect(() => {
    if (path === null) return undefined;
    const stop = new AbortController();
    let timer = null;
    let wait = every;
    let busy = false;
    const next = async () => {
      if (busy || document.hidden) return;
      busy = true;
      clearTimeout(timer);
      try {
        const data = await ask(path, { signal: stop.signal });
        wait = every;
        setKnown((before) => ({ data: latest.current(data, before.data), error: null, at: Date.now() }));
      } catch (error) {
        if (stop.signal.aborted) return;
        wait = Math.min(SLOWEST, wait * 2);
        setKnown((before) => ({ ...before, error }));
      }
      busy = false;
      timer = setTimeout(next, wait);
    };
    next();
    document.addEventListener("visibilitychange", next);
    return () => {
      stop.abort();
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", next);
    };
  }, [path, every, round]);
  const again = useCallback(() => setRound((one) => one + 1), []);
  const change = useCallback((how) => setKnown((before) => ({ ...before, data: how(before.data) })), []);
  return { ...known, again, change };
}
