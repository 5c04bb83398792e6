/**
 * The running demo that the live checks stand on: HALCYON_DEMO is its folder (`halcyon demo --keep FOLDER`), HALCYON_PROGRAM the
 * program, `halcyon` in the PATH without it. With HALCYON_PAGE the page comes from there: `HALCYON=http://127.0.0.1:20001 npm run dev`
 * serves what is being worked on.
 */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

export function demo() {
  const folder = process.env.HALCYON_DEMO;
  if (!folder) throw new Error('HALCYON_DEMO is not set: start `halcyon demo --keep FOLDER --load 10`, and name the folder');
  const state = JSON.parse(readFileSync(join(folder, 'demo.json'), 'utf8'));
  const [host, port] = state.gateway.split(':');

  /** What a command of `halcyon` prints. With `input` as its standard input; refused with what it said. */
  const halcyon = async (words, input) => {
    const going = run(process.env.HALCYON_PROGRAM ?? 'halcyon', ['--data-dir', state.data_dir, ...words], { encoding: 'utf8' });
    if (input !== undefined) going.child.stdin.end(input);
    return (await going).stdout;
  };

  /** A request through the gateway: `{ status, text, ms }`. */
  const get = (path, headers = {}) =>
    new Promise((done, failed) => {
      const begun = performance.now();
      const asked = request({ host, port, path, headers, agent: false }, (answer) => {
        let text = '';
        answer.setEncoding('utf8').on('data', (part) => (text += part));
        answer.on('end', () => done({ status: answer.statusCode, text, ms: performance.now() - begun }));
      });
      asked.on('error', failed).end();
    });

  const base = process.env.HALCYON_PAGE ?? `http://${state.dashboard}`;

  return {
    base,
    processes: state.processes,
    halcyon,
    get,
    /** An address that signs in, once. */
    key: async () => base + new URL((await halcyon(['dashboard', '--print'])).trim().split(/\s+/)[0]).href.replace(/^https?:\/\/[^/]+/, ''),
  };
}
