/** What every spec stands on: a server, a browser, a fresh page with the wanted fixture, and the faults it reported. */
import { afterAll, afterEach, beforeAll } from 'vitest';
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import { browse, serve } from './browser.mjs';

export interface Stand {
  base: string;
  real: boolean;
  stop(): Promise<void>;
  start(): Promise<void>;
  open(path: string, options?: { fixture?: string } & BrowserContextOptions): Promise<Page & { faults: string[] }>;
}

export function stand(): Stand {
  let server: Awaited<ReturnType<typeof serve>>;
  let browser: Browser;
  beforeAll(async () => {
    server = await serve();
    browser = await browse();
  });
  afterEach(async () => {
    for (const context of browser.contexts()) await context.close();
  });
  afterAll(async () => {
    await browser?.close();
    await server?.stop();
  });
  return {
    get base() {
      return server.base;
    },
    get real() {
      return server.real;
    },
    stop: () => server.stop(),
    start: () => server.start(),
    open: async (path, { fixture, ...options } = {}) => {
      const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
      const page = (await context.newPage()) as Page & { faults: string[] };
      page.faults = [];
      page.setDefaultTimeout(10_000);
      page.on('pageerror', (error) => page.faults.push(String(error)));
      page.on('console', (message) => {
        if (message.type() === 'error' && !/Failed to load resource|net::ERR/.test(message.text())) page.faults.push(message.text());
      });
      if (process.env.TOKEN) {
        await page.request.post(`${server.base}/login`, { data: { token: process.env.TOKEN } });
      }
      const glue = path.includes('?') ? '&' : '?';
      await page.goto(`${server.base}${path}${fixture !== undefined ? `${glue}fixture=${fixture}` : ''}`);
      return page;
    },
  };
}

/** Every page, with a text that shows that it is there. */
export const pages: { path: string; shows: string }[] = [
  { path: '/graph', shows: 'The whole mesh' },
  { path: '/services', shows: 'Services' },
  { path: '/services/default/reviews', shows: 'Success rate' },
  { path: '/services/default/reviews?tab=endpoints', shows: 'Locality' },
  { path: '/workloads', shows: 'Workloads' },
  { path: '/workloads/default/productpage-v1', shows: 'Policies in force' },
  { path: '/gateways', shows: 'Gateways' },
  { path: '/gateways/ingress/ingressgateway', shows: 'Listens on' },
  { path: '/traces', shows: 'Requests on their way' },
  { path: '/tap', shows: 'Path begins with' },
  { path: '/errors', shows: 'What was refused or failed' },
  { path: '/config', shows: 'documents at version' },
  { path: '/config/VirtualService/default/reviews', shows: 'apiVersion' },
  { path: '/config/VirtualService/default/reviews?tab=history', shows: 'Roll back' },
  { path: '/proxies', shows: 'connected' },
  { path: '/security', shows: 'Trusted roots' },
  { path: '/security?tab=mtls', shows: 'plain text' },
  { path: '/history', shows: 'Every change' },
];
