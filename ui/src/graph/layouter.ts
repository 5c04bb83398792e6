/** Asks the worker for a layout; the newest question wins. Where there is no worker it is laid out in place. */
import type { Placed, Plan } from './layout';

let worker: Worker | undefined;
let asked = 0;
const waiting = new Map<number, (placed: Placed | undefined) => void>();

/** Starts the worker; asked for early, it is ready when it is needed. */
export function start(): Worker | undefined {
  if (worker) return worker;
  try {
    worker = new Worker(new URL('./layout.worker.ts', import.meta.url), { type: 'module' });
    worker.onmessage = (event: MessageEvent<{ n: number; placed?: Placed }>) => {
      waiting.get(event.data.n)?.(event.data.placed);
      waiting.delete(event.data.n);
    };
  } catch {
    worker = undefined;
  }
  return worker;
}

/** Undefined if a newer question was asked meanwhile, or it failed. */
export async function layout(plan: Plan): Promise<Placed | undefined> {
  const n = ++asked;
  const own = start();
  if (!own) return (await import('./layout')).place(plan);
  const placed = await new Promise<Placed | undefined>((done) => {
    waiting.set(n, done);
    own.postMessage({ n, plan });
  });
  return n === asked ? placed : undefined;
}
