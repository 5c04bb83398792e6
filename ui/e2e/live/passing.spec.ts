/** Single requests: as they pass, why they failed, and on their way through all services. */
import { randomBytes } from 'node:crypto';
import { afterEach, describe, expect, it } from 'vitest';
import { live, until } from './stand';

const here = live();

describe('tap', () => {
  it('shows requests that are made while it runs, with their headers, and none while it is paused', async () => {
    const page = await here.open('/tap?destination=default/productpage-v1&headers=true');
    await page.getByText('Live from').waitFor();
    const mark = `m${randomBytes(4).toString('hex')}`;
    const row = page.locator('.tap-list .refusal', { hasText: `/productpage?${mark}` });
    await until('the request in the tap', async () => {
      await here.get(`/productpage?${mark}`, { 'x-mark': mark, authorization: 'Bearer secret-of-mine' });
      return row.count();
    }, (n) => n > 0);
    // Newer ones come in above it.
    await row.last().getByRole('button').click();
    await row.last().getByText('Request headers').waitFor();
    const words = await row.last().innerText();
    expect(words).toContain('Mutual TLS');
    expect(words).toContain(mark);
    expect(words).not.toContain('secret-of-mine');
    await page.getByRole('button', { name: 'Pause' }).click();
    await page.getByText('Paused').waitFor();
    const before = await page.locator('.tap-list .refusal').count();
    await here.get(`/productpage?later${mark}`);
    await page.waitForTimeout(1500);
    expect(await page.locator('.tap-list .refusal').count()).toBe(before);
    expect(page.faults).toEqual([]);
  });
  it('says what is wrong with a filter', async () => {
    const page = await here.open('/tap?source=nowhere');
    await page.getByRole('alert').getByText('`source` is `nowhere`').waitFor();
    await page.getByRole('alert').getByText('NAMESPACE/NAME').waitFor();
  });
});

describe('errors', () => {
  const policy = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-login, namespace: default}
spec:
  selector: {matchLabels: {app: productpage}}
  action: DENY
  rules:
    - to:
        - operation: {paths: [/login]}
`;
  afterEach(() => here.halcyon(['delete', 'AuthorizationPolicy', 'no-login']).catch(() => ''));

  it('tells in words why a request was refused, and which rule did it', async () => {
    await here.halcyon(['apply', '-f', '-'], policy);
    await until('a refusal', () => here.get('/login'), (answer) => answer.status === 403);
    const page = await here.open('/errors?q=/login&refresh=1');
    const one = page.locator('.refusal', { hasText: '/login' }).first();
    await one.waitFor();
    expect(await one.innerText()).toContain('403');
    await one.getByRole('button').click();
    await one.getByText('AuthorizationPolicy default/no-login').waitFor();
    await one.getByText('spiffe://cluster.local/ns/default/sa/ingressgateway-service-account').waitFor();
    // It stands at the service that was called, and at no other.
    await page.goto(`${here.base}/services/default/productpage?tab=errors`);
    await page.locator('.refusal', { hasText: '/login' }).first().waitFor();
    await page.goto(`${here.base}/services/default/details?tab=errors`);
    await page.getByText('No errors').or(page.locator('.refusals')).first().waitFor();
    expect(await page.locator('.refusal', { hasText: '/login' }).count()).toBe(0);
    // The graph and the list of workloads say that something is wrong there.
    await page.goto(`${here.base}/workloads/default/productpage-v1?tab=errors`);
    await page.locator('.refusal', { hasText: '/login' }).first().waitFor();
    expect(page.faults).toEqual([]);
  });
});

interface Row {
  level: number;
  words: string;
}

describe('traces', () => {
  it('shows a page from the gateway down to the ratings', async () => {
    const page = await here.open('/traces');
    await page.getByRole('region', { name: 'Traces' }).waitFor();
    let id = '';
    // One in three pages asks reviews-v1, which asks nobody else.
    const rows = await until('a trace with ratings', async () => {
      id = randomBytes(16).toString('hex');
      await here.get('/productpage', { traceparent: `00-${id}-${randomBytes(8).toString('hex')}-01` });
      let seen: Row[] = [];
      for (let tries = 0; tries < 8 && !seen.some((row) => row.words.startsWith('ratings')); tries += 1) {
        await page.waitForTimeout(900);
        await page.goto(`${here.base}/traces/${id}`);
        await page.getByRole('treeitem').first().or(page.getByText('There is no such trace')).first().waitFor();
        seen = await page.getByRole('treeitem').evaluateAll((all) => all.map((one) => ({ level: Number(one.getAttribute('aria-level')), words: one.querySelector('.fall-words')!.textContent! })));
      }
      return seen;
    }, (seen) => ['ingressgateway', 'productpage', 'details', 'reviews', 'ratings'].every((name) => seen.some((row) => row.words.startsWith(name))), 100);
    const level = (name: string) => Math.min(...rows.filter((row) => row.words.startsWith(name)).map((row) => row.level));
    expect(level('ingressgateway')).toBe(1);
    expect(level('productpage')).toBeGreaterThan(level('ingressgateway'));
    expect(level('details')).toBeGreaterThan(level('productpage'));
    expect(level('reviews')).toBe(level('details'));
    expect(level('ratings')).toBeGreaterThan(level('reviews'));
    const wide = await page.locator('.fall-bar').evaluateAll((all) => all.map((one) => one.getBoundingClientRect().width));
    expect(Math.max(...wide)).toBeGreaterThan(200);
    await page.locator('.fall-words').nth(1).click();
    await page.getByText('peer.identity').or(page.getByText('upstream_cluster')).first().waitFor();
    await page.getByRole('treeitem').first().getByRole('button', { name: 'Fold' }).click();
    expect(await page.getByRole('treeitem').count()).toBe(1);
  });
  it('searches', async () => {
    const page = await here.open('/traces?service=ratings');
    const table = page.getByRole('region', { name: 'Traces' });
    await table.locator('tbody tr').first().waitFor();
    for (const row of await table.locator('tbody tr').allInnerTexts()) expect(row).toMatch(/ratings|and \d+ more/);
    await page.getByLabel('At least, ms').fill('3600000');
    await page.keyboard.press('Enter');
    await page.getByText('No traces fit').waitFor();
    await page.goto(`${here.base}/traces?code=299`);
    await page.getByText('No traces fit').waitFor();
    expect(page.faults).toEqual([]);
  });
  it('leads from a point of a chart to the traces of that moment, and into one', async () => {
    const page = await here.open('/services/default/reviews');
    const chart = page.locator('.chart .u-over').first();
    await chart.waitFor();
    const box = (await chart.boundingBox())!;
    await chart.click({ position: { x: box.width - 12, y: box.height / 2 } });
    await page.waitForURL(/\/traces\?service=reviews&from=/);
    await page.locator('table .name a').first().click();
    await page.locator('.fall-bar').first().waitFor();
    expect(page.faults).toEqual([]);
  });
});
