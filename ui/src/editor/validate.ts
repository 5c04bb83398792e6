/** The validation of `apply`, asked for a moment after the last key. */
import { useEffect, useState } from 'preact/hooks';
import { Refused, type Failure, type Problem } from '../api/call';
import { plan, tryApply, type ApplyResponse, type Plan } from '../api/control';

export interface Verdict {
  state: 'idle' | 'asking' | 'good' | 'refused' | 'unknown';
  problems: Problem[];
  failure?: Failure;
  response?: ApplyResponse;
  plan?: Plan;
}

const none: Verdict = { state: 'idle', problems: [] };

/** As one reads: from the top down. */
function sorted(problems: Problem[]): Problem[] {
  return [...problems].sort((a, b) => a.line - b.line || a.column - b.column);
}

export function useVerdict(text: string, namespace: string | undefined, wanted: boolean, withPlan = false): Verdict {
  const [verdict, setVerdict] = useState<Verdict>(none);
  useEffect(() => {
    if (!wanted || text.trim() === '') {
      setVerdict(none);
      return undefined;
    }
    const abort = new AbortController();
    setVerdict((old) => ({ ...old, state: 'asking' }));
    const timer = window.setTimeout(async () => {
      try {
        const response = await tryApply(text, namespace, abort.signal);
        setVerdict({ state: 'good', problems: sorted(response.problems), response });
        if (withPlan) {
          // What it would do to proxies is good to know, and not needed.
          const planned = await plan(text, namespace, abort.signal).catch(() => undefined);
          if (planned && !abort.signal.aborted) setVerdict({ state: 'good', problems: sorted(response.problems), response, plan: planned });
        }
      } catch (error) {
        if (abort.signal.aborted) return;
        if (error instanceof Refused && error.status === 422) setVerdict({ state: 'refused', problems: sorted(error.failure.problems ?? []), failure: error.failure });
        else setVerdict({ state: 'unknown', problems: [], failure: error instanceof Refused ? error.failure : { error: String(error) } });
      }
    }, 350);
    return () => {
      abort.abort();
      window.clearTimeout(timer);
    };
  }, [text, namespace, wanted, withPlan]);
  return verdict;
}
