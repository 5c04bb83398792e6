/** What every live spec stands on: the demo, a browser that is signed in, and the faults that its pages reported. */
import { afterAll, afterEach, beforeAll } from 'vitest';
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import { browse } from '../browser.mjs';
import { demo, type Answer, type Demo } from './demo.mjs';

export type LivePage = Page & { faults: string[] };

export interface Live extends Demo {
  /** A page of who holds a key of the local user, an admin; `guest` has no cookie. */
  open(path: string, options?: { guest?: boolean } & BrowserContextOptions): Promise<LivePage>;
}

export function live(): Live {
  const mesh = demo();
  let browser: Browser;
  let signedIn: BrowserContextOptions['storageState'];
  const fresh = async ({ guest, ...options }: { guest?: boolean } & BrowserContextOptions) => {
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, storageState: guest ? undefined : signedIn, ...options });
    context.setDefaultTimeout(20_000);
    return context;
  };
  beforeAll(async () => {
    browser = await browse();
    const context = await fresh({ guest: true });
    await (await context.newPage()).goto(await mesh.key());
    signedIn = await context.storageState();
    await context.close();
  });
  afterEach(async () => {
    for (const context of browser.contexts()) await context.close();
  });
  afterAll(() => browser?.close());
  return {
    ...mesh,
    open: async (path, options = {}) => {
      const page = (await (await fresh(options)).newPage()) as LivePage;
      page.faults = [];
      page.on('pageerror', (error) => page.faults.push(String(error)));
      page.on('console', (message) => message.type() === 'error' && page.faults.push(message.text()));
      page.on('response', (answer) => answer.status() >= 400 && page.faults.push(`${answer.status()} ${answer.url()}`));
      await page.goto(path.startsWith('http') ? path : mesh.base + path);
      return page;
    },
  };
}

/** Asks until it is so; says what was there last if it never is. */
export async function until<T>(what: string, ask: () => Promise<T>, is: (found: T) => boolean, seconds = 40): Promise<T> {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    const found = await ask();
    if (is(found)) return found;
    if (Date.now() > end) throw new Error(`${what}: not so after ${seconds} s; the last was ${JSON.stringify(found)?.slice(0, 600)}`);
    await new Promise((done) => setTimeout(done, 150));
  }
}

/** Which of the reviews served a page; empty if none did. */
export const servedBy = (answer: Answer): string => /served by <b>(reviews-v\d)/.exec(answer.text)?.[1] ?? '';

/** What productpage says of its calls: service -> status. */
export function journey(answer: Answer): Record<string, string> {
  const steps = answer.text.matchAll(/<li><b>(\w+)<\/b><span class="status \w+">([^<]+)</g);
  return Object.fromEntries([...steps].map(([, service, status]) => [service!, status!]));
}
