/** Lists and details: services, workloads, gateways, proxies, certificates. */
import { describe, expect, it } from 'vitest';
import type { Page } from 'playwright-core';
import { live, until } from './stand';

const here = live();

/** The cells of a row, by a word in it. */
const cells = (page: Page, table: string, word: string) => page.getByRole('region', { name: table }).locator('tbody tr', { hasText: word }).first().locator('td').allInnerTexts();

/** What a chart says of itself to who cannot see it. */
const charts = (page: Page) => page.locator('figure.chart').evaluateAll((all) => all.map((one) => one.getAttribute('aria-label') ?? ''));

describe('services and workloads', () => {
  it('lists services with what passes, and leads into one with its charts', async () => {
    const page = await here.open('/services');
    await until('requests at reviews', () => cells(page, 'Services', 'reviews').catch(() => []), (row) => row.some((cell) => /\d.*rps/.test(cell)));
    await page.getByRole('link', { name: 'reviews', exact: true }).click();
    await until('charts with figures', () => charts(page), (all) => all.length === 3 && all.every((one) => /Latest: .*\d/.test(one)));
    // Lines are drawn: the canvas is not of one colour.
    const inked = await page.locator('figure.chart canvas').first().evaluate((canvas: HTMLCanvasElement) => new Set(canvas.getContext('2d')!.getImageData(0, 0, canvas.width, canvas.height).data).size);
    expect(inked).toBeGreaterThan(4);
    expect(page.faults).toEqual([]);
  });
  it('knows the endpoints, and leads from one to its workload', async () => {
    const page = await here.open('/services/default/reviews?tab=endpoints');
    const rows = page.getByRole('region', { name: 'Endpoints' }).locator('tbody tr');
    await rows.first().waitFor();
    expect(await rows.count()).toBe(3);
    for (const row of await rows.allInnerTexts()) expect(row).toContain('Ready');
    await rows.getByRole('link', { name: 'reviews-v2' }).click();
    await page.getByRole('heading', { name: 'reviews-v2' }).waitFor();
    await page.getByText('spiffe://cluster.local/ns/default/sa/bookinfo-reviews').first().waitFor();
    await page.getByRole('link', { name: 'Calls' }).click();
    await page.getByRole('region', { name: 'Callers' }).getByText('default/productpage-v1').waitFor();
    await page.getByRole('region', { name: 'Called' }).getByText('default/ratings-v1').waitFor();
    await page.getByRole('link', { name: 'Instances' }).click();
    expect((await cells(page, 'Instances', 'reviews-v2')).join(' ')).toMatch(/Ready.*127\..*in \d+/s);
    expect(page.faults).toEqual([]);
  });
  it('knows what is written for a service', async () => {
    const page = await here.open('/services/default/reviews?tab=policies');
    await page.getByText('version: v3').waitFor();
    await page.getByRole('link', { name: 'reviews', exact: true }).click();
    await page.locator('.cm-line').first().waitFor();
    await page.waitForURL(/\/config\/DestinationRule\/default\/reviews/);
  });
});

describe('gateways', () => {
  it('show what they pass on, and where they listen', async () => {
    const page = await here.open('/gateways');
    await until('requests at the gateway', () => cells(page, 'Gateways', 'ingressgateway').catch(() => []), (row) => row.some((cell) => /\d.*rps/.test(cell)));
    await page.getByRole('link', { name: 'ingressgateway' }).click();
    await until('charts with figures', () => charts(page), (all) => all.length === 3 && all.every((one) => /Latest: .*\d/.test(one)));
    expect((await cells(page, 'Servers', '8080')).join(' ')).toContain('HTTP');
    await page.getByRole('link', { name: 'bookinfo-gateway' }).waitFor();
    expect(page.faults).toEqual([]);
  });
});

describe('proxies and security', () => {
  it('shows what every proxy acknowledged, and what one runs', async () => {
    const page = await here.open('/proxies');
    const rows = page.getByRole('region', { name: 'Proxies' }).locator('tbody tr');
    await until('seven that are in step', () => rows.allInnerTexts(), (all) => all.length === 7 && all.every((row) => /ACK/.test(row) && !/NACK|Waiting/.test(row)));
    const version = (await here.halcyon(['--version'])).trim().split(' ').pop()!;
    for (const row of await rows.allInnerTexts()) expect(row).toContain(version);
    await rows.getByRole('link', { name: /^productpage-v1/ }).click();
    await page.getByText('spiffe://cluster.local/ns/default/sa/bookinfo-productpage').waitFor();
    await page.getByRole('link', { name: 'What it runs' }).click();
    await page.getByText('outbound|9080||reviews.default.svc.cluster.local').first().waitFor();
    await page.getByLabel('Filter resources').fill('details');
    await page.getByText('outbound|9080||reviews.default.svc.cluster.local').first().waitFor({ state: 'detached' });
    expect(page.faults).toEqual([]);
  });
  it('shows roots, certificates, and who may call whom', async () => {
    const page = await here.open('/security');
    await page.getByRole('region', { name: 'Roots' }).getByText('active').waitFor();
    await page.getByRole('link', { name: 'Certificates' }).click();
    const rows = page.getByRole('region', { name: 'Certificates' }).locator('tbody tr');
    await rows.first().waitFor();
    expect(await rows.count()).toBe(6);
    for (const row of await rows.allInnerTexts()) expect(row).toMatch(/spiffe:\/\/cluster\.local.*in \d+/s);
    await page.getByRole('link', { name: 'Access' }).click();
    await page.getByText('nothing forbids it').first().waitFor();
    expect(page.faults).toEqual([]);
  });
});
