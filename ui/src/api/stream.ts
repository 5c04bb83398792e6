/** Server-sent events of a tap: opened, read, opened again after a break, and closed; a refusal keeps its words. */
import { asFailure, call, type Failure } from './call';
import { backoff } from './poll';

export interface Tap {
  close(): void;
}

export interface TapSays {
  event(name: string, data: unknown): void;
  state(state: 'open' | 'again' | 'refused', failure?: Failure): void;
}

const names = ['hello', 'exchange', 'loss'];

export function listen(path: string, says: TapSays): Tap {
  let source: EventSource | undefined;
  let closed = false;
  let failures = 0;
  let timer: number | undefined;

  const open = () => {
    if (closed) return;
    source = new EventSource(path);
    for (const name of names) {
      source.addEventListener(name, (event) => {
        try {
          says.event(name, JSON.parse((event as MessageEvent<string>).data));
        } catch {
          /* Half a line of a broken stream says nothing. */
        }
      });
    }
    source.onopen = () => {
      failures = 0;
      says.state('open');
    };
    source.onerror = () => {
      if (closed || !source) return;
      if (source.readyState === EventSource.CONNECTING) {
        says.state('again');
        return;
      }
      source.close();
      void why();
    };
  };

  /** An EventSource does not tell why it was refused: the same call, asked plainly, does. */
  const why = async () => {
    const abort = new AbortController();
    const enough = window.setTimeout(() => abort.abort(), 2500);
    let failure: Failure | undefined;
    let status = 0;
    try {
      await call(path, { signal: abort.signal });
    } catch (error) {
      if (!abort.signal.aborted) {
        failure = asFailure(error);
        status = (error as { status?: number }).status ?? 0;
      }
    }
    window.clearTimeout(enough);
    if (closed) return;
    // Refused for a reason: asking again in a hurry would not help.
    if (failure && status >= 400 && status < 500 && status !== 429) {
      says.state('refused', failure);
      return;
    }
    failures += 1;
    says.state('again', failure);
    timer = window.setTimeout(open, backoff(failures));
  };

  open();
  return {
    close: () => {
      closed = true;
      window.clearTimeout(timer);
      source?.close();
    },
  };
}
