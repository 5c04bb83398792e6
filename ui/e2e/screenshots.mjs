/** The chosen pictures, into `screenshots/`: of the fixture, or with HALCYON_DEMO of a running demo (`live-…`). */
import { fileURLToPath } from 'node:url';
import { browse, serve } from './browser.mjs';
import { demo } from './live/demo.mjs';

const out = fileURLToPath(new URL('../screenshots/', import.meta.url));
const wide = { width: 1280, height: 800 };
const phone = { width: 390, height: 844 };
const views = [
  ['graph-light', '/graph?label=rate', wide, 'light'],
  ['graph-dark', '/graph?sel=workload:shop/checkout-v2', wide, 'dark'],
  ['graph-find', '/graph?find=reviews+OR+%25httperr+%3E+5&label=p95', wide, 'light'],
  ['graph-1000-dark', '/graph?fixture=scale:1000', wide, 'dark'],
  ['graph-phone', '/graph?fixture=', phone, 'light'],
  ['services-light', '/services', wide, 'light'],
  ['service-dark', '/services/default/reviews', wide, 'dark'],
  ['service-phone', '/services/default/reviews', phone, 'dark'],
  ['workload-light', '/workloads/default/ratings-v1', wide, 'light'],
  ['trace-dark', 'first-trace', wide, 'dark'],
  ['tap-dark', '/tap', wide, 'dark'],
  ['errors-light', '/errors', wide, 'light'],
  ['editor-problem-dark', '/config/new', wide, 'dark'],
  ['history-light', '/config/VirtualService/default/reviews?tab=history', wide, 'light'],
  ['wizard-shift-light', '/services/default/reviews?wizard=shift', wide, 'light'],
  ['proxies-light', '/proxies', wide, 'light'],
  ['security-dark', '/security?tab=certificates', wide, 'dark'],
  ['signin-light', '/graph?fixture=signin', wide, 'light'],
];
const ofTheDemo = [
  ['live-graph-light', '/graph?label=rate', wide, 'light'],
  ['live-service-dark', '/services/default/reviews', wide, 'dark'],
  ['live-gateway-light', '/gateways/default/ingressgateway', wide, 'light'],
  ['live-trace-dark', 'first-trace', wide, 'dark'],
];
const only = process.argv.slice(2);
const mesh = process.env.HALCYON_DEMO ? demo() : undefined;
const server = mesh ? { base: mesh.base, stop: async () => {} } : await serve();
const browser = await browse();
for (const [name, path, viewport, colorScheme] of mesh ? ofTheDemo : views) {
  if (only.length > 0 && !only.includes(name)) continue;
  const context = await browser.newContext({ viewport, colorScheme });
  const page = await context.newPage();
  if (mesh) await page.goto(await mesh.key());
  // Spans of the newest requests are still on their way.
  const traces = mesh ? `/traces?service=ratings&to=${new Date(Date.now() - 15_000).toISOString()}` : '/traces?errors=true';
  await page.goto(server.base + (path === 'first-trace' ? traces : path));
  await page.waitForTimeout(1400);
  if (path === 'first-trace') {
    await page.locator('table .name a').first().click();
    await page.locator('.fall-words').nth(2).click();
  }
  if (name.startsWith('editor')) {
    await page.locator('.cm-content').click();
    await page.keyboard.press('Control+A');
    await page.keyboard.insertText('apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata:\n  name: reviews\n  namespace: default\nspec:\n  hosts: [reviews]\n  http:\n    - retry: 3\n      route:\n        - destination: {host: reviews, subset: v1}\n          weight: 60\n        - destination: {host: reviews, subset: v4}\n          weight: 30\n      timeout: soon\n');
  }
  if (/service-(?!phone)/.test(name)) await page.locator('figure.chart').first().waitFor();
  if (name.startsWith('wizard')) await page.getByRole('slider', { name: 'Share of v3' }).fill('45');
  if (name.startsWith('history')) await page.locator('.refusal-head').first().click();
  await page.waitForTimeout(1200);
  await page.screenshot({ path: `${out}${name}.png` });
  await context.close();
}
await browser.close();
await server.stop();
