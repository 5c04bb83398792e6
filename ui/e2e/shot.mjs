/** One picture of one view: `node e2e/shot.mjs OUT.png PATH [WIDTHxHEIGHT] [light|dark]`. For looking while working. */
import { browse, serve } from './browser.mjs';

const jobs = process.argv.slice(2).join(' ').split(' -- ').map((job) => job.split(' '));
const server = await serve();
const browser = await browse();
for (const [out, path, size = '1280x800', scheme = 'light', wait = '900'] of jobs) {
  const [width, height] = size.split('x').map(Number);
  const page = await browser.newPage({ viewport: { width, height }, colorScheme: scheme });
  page.on('console', (message) => ['error', 'warning'].includes(message.type()) && console.log(path, message.text()));
  page.on('pageerror', (error) => console.log(path, 'pageerror', error.message));
  await page.goto(server.base + path);
  await page.waitForLoadState('networkidle', { timeout: 4000 }).catch(() => {});
  await page.waitForTimeout(Number(wait));
  await page.screenshot({ path: out });
  await page.close();
}
await browser.close();
await server.stop();
