/** What people do: wizards write, the editor validates and rolls back, the tap shows, traces open, sign-in, and the server going away. */
import { describe, expect, it } from 'vitest';
import { stand } from './stand';

const here = stand();

describe('wizards', () => {
  it.each([
    ['shift', async (page: any) => page.getByRole('slider', { name: 'Share of v3' }).fill(String(40 + Math.floor(Math.random() * 50))), 'subset: v3'],
    ['route', async (page: any) => page.getByRole('textbox', { name: 'Value' }).fill(`user-${Date.now()}`), 'end-user'],
    ['fault', async (page: any) => page.getByLabel('Is', { exact: true }).fill(`tester-${Date.now()}`), 'fixedDelay'],
    ['timeout', async (page: any) => page.getByLabel('Timeout for the whole request').fill(String(1000 + (Date.now() % 5000))), 'timeout'],
    ['circuit', async (page: any) => page.getByLabel('Waiting requests').fill(String(1 + (Date.now() % 500))), 'http1MaxPendingRequests'],
  ] as const)('%s shows its YAML and writes', async (name, fill, yaml) => {
    const page = await here.open(`/services/default/reviews?wizard=${name}`);
    await page.getByText('What is written').waitFor();
    await fill(page);
    const dialog = page.getByRole('dialog').last();
    await dialog.getByText(yaml).first().waitFor();
    await dialog.getByText('Valid').waitFor();
    await dialog.getByRole('button', { name: 'Apply' }).click();
    await page.locator('.toast.good').waitFor();
    expect(page.faults).toEqual([]);
  });
  it('is closed to viewers, and says why', async () => {
    const page = await here.open('/services/default/reviews', { fixture: 'viewer' });
    const button = page.getByRole('button', { name: 'Change traffic' });
    await button.waitFor();
    expect(await button.isDisabled()).toBe(true);
    expect(await button.getAttribute('title')).toContain('viewer');
  });
});

describe('configuration', () => {
  it('shows problems at their line, and refuses what apply refuses', async () => {
    const page = await here.open('/config/new');
    const editor = page.locator('.cm-content');
    await editor.click();
    await page.keyboard.press('Control+A');
    await page.keyboard.insertText('apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata:\n  name: bad\nspec:\n  hosts: [reviews]\n  http:\n    - retry: 3\n      route:\n        - destination: {host: reviews}\n');
    await page.getByText('`retry` is no field of a route').waitFor();
    await page.getByText('Did you mean `retries`?').waitFor();
    await page.getByRole('button', { name: /line 8/ }).waitFor();
    expect(await page.getByRole('button', { name: 'Apply' }).isDisabled()).toBe(true);
  });
  it('writes, shows the history with its difference, and rolls back', async () => {
    const page = await here.open('/config/DestinationRule/default/reviews');
    await page.locator('.cm-line').nth(4).waitFor();
    await page.locator('.cm-content').click();
    await page.keyboard.press('Control+A');
    await page.keyboard.insertText(`apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata:\n  name: reviews\n  namespace: default\n  annotations:\n    seen: "${Date.now()}"\nspec:\n  host: reviews\n  subsets:\n    - {name: v1, labels: {version: v1}}\n    - {name: v2, labels: {version: v2}}\n    - {name: v3, labels: {version: v3}}\n`);
    await page.locator('.config-foot').getByText('Valid').waitFor();
    await page.getByRole('button', { name: 'Apply' }).click();
    await page.locator('.toast.good').waitFor();
    await page.getByRole('link', { name: 'History' }).last().click();
    const back = page.getByRole('button', { name: 'Roll back' }).last();
    await back.waitFor();
    await page.locator('.refusal-head').first().click();
    await page.locator('.yaml .add').first().waitFor();
    await back.click();
    await page.getByText(/Rolled back to version/).waitFor();
  });
});

describe('tap and traces', () => {
  it('shows live requests', async () => {
    const page = await here.open('/tap?headers=true');
    await page.locator('.tap-list .refusal').nth(5).waitFor();
    await page.getByRole('button', { name: 'Pause' }).click();
    await page.locator('.tap-head').first().click();
    await page.getByText('Request headers').waitFor();
  });
  it('goes from a chart to its traces, and into one', async () => {
    const page = await here.open('/services/default/reviews');
    await page.locator('.chart .u-over').first().waitFor();
    await page.locator('.chart .u-over').first().click({ position: { x: 120, y: 60 } });
    await page.waitForURL(/\/traces\?service=reviews&from=/);
    await page.locator('table .name a').first().click();
    await page.locator('.fall-bar').nth(3).waitFor();
    await page.locator('.fall-words').nth(1).click();
    await page.getByText('peer.identity').first().waitFor();
  });
  it('says that a trace is not there', async () => {
    const page = await here.open('/traces/00000000000000000000000000000000');
    await page.getByText('There is no such trace').waitFor();
  });
});

describe('sign-in and errors', () => {
  it.runIf(!/^http/.test(process.env.BASE_URL ?? ''))('asks for a token, refuses a wrong one in words, and lets in', async () => {
    const page = await here.open('/graph', { fixture: 'signin' });
    await page.getByLabel('Token').fill('wrong');
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.getByText('The token is not known').waitFor();
    await page.getByLabel('Token').fill('demo');
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.getByText('The whole mesh').waitFor();
  });
  it('says what is empty', async () => {
    const page = await here.open('/graph', { fixture: 'empty' });
    await page.getByText('No traffic yet').waitFor();
    await page.goto(`${here.base}/services`);
    await page.getByText('No services yet').waitFor();
  });
  it('knows no such page', async () => {
    const page = await here.open('/nowhere');
    await page.getByText('There is no such page').waitFor();
  });
  it.runIf(!/^http/.test(process.env.BASE_URL ?? ''))('keeps what it has while the server is gone, says so, and comes back', async () => {
    const page = await here.open('/services?refresh=1');
    await page.getByRole('link', { name: 'reviews' }).waitFor();
    await here.stop();
    await page.getByText('The control plane does not answer.').waitFor({ timeout: 15_000 });
    expect(await page.getByRole('link', { name: 'reviews' }).isVisible()).toBe(true);
    await here.start();
    await page.getByText('The control plane does not answer.').waitFor({ state: 'detached', timeout: 25_000 });
  });
});

describe('hostile names', () => {
  it.each(['/graph?label=rate', '/graph?sel=' + encodeURIComponent('workload:default/<img src=x onerror=window.__hurt=1>'), '/services', '/workloads', '/errors', '/tap?headers=true', '/traces', '/services/default/' + encodeURIComponent('<img src=x onerror=window.__hurt=1>'), '/workloads/default/' + encodeURIComponent('{{constructor.constructor("window.__hurt=1")()}}')])('%s is not hurt', async (path) => {
    const page = await here.open(path, { fixture: 'hostile' });
    await page.waitForTimeout(1500);
    expect(await page.evaluate(() => (window as unknown as { __hurt?: number }).__hurt)).toBeUndefined();
    expect(await page.locator('main img[src=x], main script').count()).toBe(0);
    expect(await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth)).toBe(true);
    expect(page.faults).toEqual([]);
  });
  it('a hostile trace is not hurt either', async () => {
    const page = await here.open('/traces', { fixture: 'hostile' });
    await page.locator('table .name a').first().click();
    await page.locator('.fall-words').first().click();
    await page.waitForTimeout(500);
    expect(await page.evaluate(() => (window as unknown as { __hurt?: number }).__hurt)).toBeUndefined();
    expect(page.faults).toEqual([]);
  });
});
