/**
 * Reads that repeat: one shared entry for each path, as long as somebody looks at it. Data stays when a read fails;
 * failures back off; nothing is asked while the page is hidden or paused.
 */
import { signal, type Signal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import { Refused, asFailure, call, type Failure } from './call';

export interface Entry<T> {
  data?: T;
  failure?: Failure;
  status?: number;
  /** When the data came. */
  at?: number;
  loading: boolean;
}

interface Watched {
  path: string;
  entry: Signal<Entry<unknown>>;
  watchers: Map<symbol, number>;
  timer?: number;
  failures: number;
  inFlight?: AbortController;
}

/** How the line to the control plane is. */
export const link = signal<{ ok: boolean; since?: number; retryAt?: number; lastGood?: number }>({ ok: true });
/** The user stopped all repeating reads. */
export const paused = signal(false);

const watched = new Map<string, Watched>();
const keep = 40;

export function backoff(failures: number, random = Math.random()): number {
  return Math.min(30_000, 1000 * 2 ** Math.min(failures - 1, 5)) * (0.8 + 0.4 * random);
}

function every(item: Watched): number {
  let least = Infinity;
  for (const ms of item.watchers.values()) if (ms > 0 && ms < least) least = ms;
  return least;
}

function later(item: Watched, ms: number): void {
  window.clearTimeout(item.timer);
  item.timer = undefined;
  if (!Number.isFinite(ms) || item.watchers.size === 0) return;
  item.timer = window.setTimeout(() => void read(item), ms);
}

async function read(item: Watched): Promise<void> {
  if (item.inFlight) return;
  if (document.hidden && item.entry.peek().data !== undefined) return;
  const abort = new AbortController();
  item.inFlight = abort;
  item.entry.value = { ...item.entry.peek(), loading: true };
  try {
    const data = await call<unknown>(item.path, { signal: abort.signal });
    item.failures = 0;
    const now = Date.now();
    item.entry.value = { data, at: now, loading: false };
    if (!link.peek().ok) {
      link.value = { ok: true, lastGood: now };
      for (const other of watched.values()) if (other !== item && other.failures > 0) later(other, 50 + Math.random() * 400);
    } else link.peek().lastGood = now;
    item.inFlight = undefined;
    if (!paused.peek()) later(item, every(item));
  } catch (error) {
    item.inFlight = undefined;
    if (abort.signal.aborted) {
      item.entry.value = { ...item.entry.peek(), loading: false };
      return;
    }
    item.failures += 1;
    const status = error instanceof Refused ? error.status : 0;
    item.entry.value = { ...item.entry.peek(), failure: asFailure(error), status, loading: false };
    const wait = backoff(item.failures);
    if (status === 0 || status >= 502) {
      const before = link.peek();
      link.value = { ok: false, since: before.since ?? Date.now(), retryAt: Date.now() + wait, lastGood: before.lastGood };
    }
    // What is refused for a reason is not asked for again in a hurry.
    if (status !== 401) later(item, status === 0 || status >= 500 ? wait : Math.max(wait, 15_000));
  }
}

function entryOf(path: string): Watched {
  let item = watched.get(path);
  if (!item) {
    item = { path, entry: signal<Entry<unknown>>({ loading: true }), watchers: new Map(), failures: 0 };
    watched.set(path, item);
    if (watched.size > keep * 2) {
      for (const [key, old] of watched) {
        if (watched.size <= keep) break;
        if (old.watchers.size === 0) watched.delete(key);
      }
    }
  }
  return item;
}

/** Starts reading before anybody looks: the first paint waits for less. */
export function prefetch(path: string): void {
  const item = entryOf(path);
  if (item.entry.peek().data === undefined) void read(item);
}

/** Reads again now what is looked at and fits. */
export function refresh(prefix = ''): void {
  for (const item of watched.values()) {
    if (!item.path.startsWith(prefix)) continue;
    if (item.watchers.size > 0) {
      item.inFlight?.abort();
      item.inFlight = undefined;
      void read(item);
    } else if (item.entry.peek().at !== undefined) item.entry.value = { ...item.entry.peek(), at: 0 };
  }
}

document.addEventListener('visibilitychange', () => {
  if (document.hidden || paused.peek()) return;
  for (const item of watched.values()) if (item.watchers.size > 0 && Number.isFinite(every(item))) void read(item);
});

/**
 * What a path gives, read every so many milliseconds (0: once). While a new path loads, what the old one gave stays, so
 * that nothing jumps; `stale` says so.
 */
export function usePolled<T>(path: string | null, everyMs = 0): Entry<T> & { stale: boolean } {
  const me = useRef(Symbol('watcher')).current;
  const last = useRef<{ family: string; data?: T; at?: number }>({ family: '' });
  const item = path === null ? null : entryOf(path);
  useEffect(() => {
    if (!path) return undefined;
    const mine = entryOf(path);
    mine.watchers.set(me, everyMs);
    const { at } = mine.entry.peek();
    const old = at === undefined || Date.now() - at > (everyMs || 2000);
    if (old || mine.failures > 0) void read(mine);
    else if (!paused.peek()) later(mine, every(mine));
    return () => {
      mine.watchers.delete(me);
      if (mine.watchers.size === 0) {
        window.clearTimeout(mine.timer);
        mine.inFlight?.abort();
        mine.inFlight = undefined;
      }
    };
  }, [path, everyMs]);
  const entry = (item ? item.entry.value : { loading: false }) as Entry<T>;
  const family = path?.split('?')[0] ?? '';
  if (entry.data !== undefined) last.current = { family, data: entry.data, at: entry.at };
  if (entry.data === undefined && last.current.family === family && last.current.data !== undefined) {
    return { ...entry, data: last.current.data, at: last.current.at, stale: true };
  }
  return { ...entry, stale: false };
}
