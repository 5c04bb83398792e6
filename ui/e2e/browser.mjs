/**
 * Starts what the checks in a browser need: Chromium (CHROMIUM, or from PATH) and, without BASE_URL, the built dashboard
 * with the fixture behind it.
 */
import { execFileSync, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const root = fileURLToPath(new URL('..', import.meta.url));

function chromiumPath() {
  if (process.env.CHROMIUM) return process.env.CHROMIUM;
  for (const name of ['chromium', 'chromium-browser', 'google-chrome']) {
    try {
      return execFileSync('/bin/sh', ['-c', `command -v ${name}`], { encoding: 'utf8' }).trim();
    } catch {
      /* The next one, then. */
    }
  }
  throw new Error('There is no Chromium: set CHROMIUM to its path');
}

/** A running fixture: `{ base, stop() }`. With BASE_URL it is whatever answers there. */
export async function serve(port = 4300 + (process.pid % 500)) {
  // Vitest sets BASE_URL to a path: only an address counts.
  if (/^http/.test(process.env.BASE_URL ?? '')) return { base: process.env.BASE_URL.replace(/\/$/, ''), real: true, stop: async () => {}, start: async () => {} };
  const base = `http://127.0.0.1:${port}`;
  let child;
  const start = async () => {
    child = spawn(process.execPath, ['node_modules/vite/bin/vite.js', 'preview', '--host', '127.0.0.1', '--port', String(port), '--strictPort'], { cwd: root, stdio: ['ignore', 'ignore', 'inherit'] });
    for (let tries = 0; tries < 100; tries += 1) {
      try {
        if ((await fetch(`${base}/v1/version`)).ok) return;
      } catch {
        /* Not yet. */
      }
      await new Promise((done) => setTimeout(done, 100));
    }
    throw new Error('The fixture did not start. Was `npm run build` run?');
  };
  const stop = async () => {
    if (!child) return;
    const gone = new Promise((done) => child.once('exit', done));
    child.kill();
    await gone;
    child = undefined;
  };
  await start();
  return { base, real: false, stop, start };
}

export async function browse() {
  const args = ['--disable-dev-shm-usage', '--force-color-profile=srgb'];
  if (process.getuid?.() === 0) args.push('--no-sandbox');
  return chromium.launch({ executablePath: chromiumPath(), args });
}
