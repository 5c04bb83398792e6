/** The graph of a real mesh: what it shows, that it moves, and what is done with it. */
import { describe, expect, it } from 'vitest';
import type { Page } from 'playwright-core';
import { live, until } from './stand';

const here = live();

interface Shown {
  nodes: string[];
  edges: string[];
  boxes: string[];
  found: string[];
  flying: number;
  rps: Record<string, number>;
}

async function shown(page: Page): Promise<Shown> {
  await page.locator('.graph-canvas[data-ready]').waitFor();
  return page.evaluate(() => {
    const { stage } = document.querySelector('.graph-canvas') as any;
    const ids = (list: any) => list.map((one: any) => one.id()) as string[];
    const rps = [...stage.view.nodes].map((one: any) => [one.id, one.inbound.rps]);
    return { nodes: ids(stage.cy.nodes().not('.box')), edges: ids(stage.cy.edges()), boxes: ids(stage.cy.nodes('.box')), found: ids(stage.cy.nodes('.found')), flying: stage.flying(), rps: Object.fromEntries(rps) };
  });
}

const workloads = ['details-v1', 'ingressgateway', 'productpage-v1', 'ratings-v1', 'reviews-v1', 'reviews-v2', 'reviews-v3'].map((name) => `workload:default/${name}`);
const drawn = (page: Page) => page.evaluate(() => document.querySelector<HTMLCanvasElement>('canvas[data-layer=traffic]')!.toDataURL());

describe('the graph', () => {
  it('shows Bookinfo with its figures, and they follow the traffic', async () => {
    const page = await here.open('/graph?refresh=1');
    const first = await until('all of Bookinfo', () => shown(page), (now) => workloads.every((id) => now.nodes.includes(id)) && now.rps['workload:default/productpage-v1']! > 0);
    expect(first.edges).toContain('workload:default/ingressgateway>workload:default/productpage-v1>http');
    expect(first.edges).toContain('workload:default/reviews-v3>workload:default/ratings-v1>http');
    const before = first.rps['workload:default/productpage-v1']!;
    await Promise.all(Array.from({ length: 400 }, () => here.get('/productpage')));
    await until('more requests', () => shown(page), (now) => now.rps['workload:default/productpage-v1']! > before + 3);
    expect(page.faults).toEqual([]);
  });
  it('draws traffic that moves, and holds still where that is not wanted', async () => {
    const page = await here.open('/graph');
    await until('dots', () => shown(page), (now) => now.flying > 3);
    const first = await drawn(page);
    await until('another picture', () => drawn(page), (now) => now !== first);
    const still = await here.open('/graph', { reducedMotion: 'reduce' });
    await until('all of it', () => shown(still), (now) => now.nodes.length >= workloads.length);
    const picture = await drawn(still);
    await still.waitForTimeout(500);
    expect(await drawn(still)).toBe(picture);
  });
  it('finds and hides', async () => {
    const page = await here.open('/graph');
    await shown(page);
    await page.keyboard.press('/');
    await page.keyboard.type('name *= reviews');
    const marked = await until('three marked', () => shown(page), (now) => now.found.length === 3);
    expect(marked.found.sort()).toEqual(workloads.filter((id) => id.includes('reviews')));
    await page.getByLabel('Hide', { exact: true }).fill('name = ratings-v1');
    await until('ratings hidden', () => shown(page), (now) => !now.nodes.includes('workload:default/ratings-v1') && now.nodes.length >= 6);
    await page.getByLabel('Hide', { exact: true }).fill('mtls');
    await page.getByLabel('Find', { exact: true }).fill('htpin > 3');
    await page.getByText('Did you mean `httpin`').waitFor();
    expect(page.faults).toEqual([]);
  });
  it('groups by app and by version, and shows apps and services as nodes', async () => {
    const page = await here.open('/graph?group=app');
    expect((await shown(page)).boxes).toContain('appbox:default/reviews');
    await page.getByLabel('Nodes are').selectOption('service');
    await until('services', () => shown(page), (now) => now.nodes.includes('service:default/ratings'));
    await page.getByLabel('Nodes are').selectOption('app');
    await until('apps', () => shown(page), (now) => now.nodes.includes('app:default/reviews'));
    const folded = await here.open('/graph?fold=1');
    await until('one group', () => shown(folded), (now) => now.nodes.includes('group:ns:default'));
    expect([...page.faults, ...folded.faults]).toEqual([]);
  });
  it('tells of a call: answers, mutual TLS, and the way on', async () => {
    const page = await here.open('/graph?sel=workload:default/reviews-v3>workload:default/ratings-v1>http');
    const side = page.getByRole('complementary', { name: 'Selected' });
    await side.getByText('Mutual TLS', { exact: true }).waitFor();
    await side.getByText('spiffe://cluster.local/ns/default/sa/bookinfo-ratings').waitFor();
    await side.getByRole('link', { name: 'ratings.default.svc.cluster.local' }).click();
    await page.getByRole('heading', { name: 'ratings' }).waitFor();
  });
  it('is walked by keyboard', async () => {
    const page = await here.open('/graph');
    await shown(page);
    await page.locator('.graph-canvas').focus();
    await page.keyboard.press('ArrowRight');
    await page.waitForURL(/sel=workload/);
    await page.getByText('Go on').waitFor();
    await page.keyboard.press('Enter');
    await page.waitForURL(/\/workloads\/default\//);
    await page.keyboard.press('g');
    await page.keyboard.press('s');
    await page.getByRole('heading', { name: 'Services' }).waitFor();
    await page.keyboard.press('?');
    await page.getByRole('dialog').getByText('Clear the field').waitFor();
    await page.keyboard.press('Escape');
    await page.keyboard.press('/');
    await page.keyboard.type('ratings');
    await page.waitForURL(/q=ratings/);
    // The first stop of the tabulator leads past the navigation.
    await page.reload();
    await page.getByRole('link', { name: 'ratings', exact: true }).waitFor();
    await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    expect(await page.evaluate(() => document.activeElement?.id)).toBe('main');
    expect(page.faults).toEqual([]);
  });
  it('looks back and comes back', async () => {
    const page = await here.open('/graph');
    await shown(page);
    await page.getByRole('slider', { name: 'Moment of the last six hours' }).fill('21480');
    await page.waitForURL(/at=/);
    await page.getByRole('button', { name: 'Now', exact: true }).click();
    await page.getByText('Live', { exact: true }).waitFor();
    expect(page.faults).toEqual([]);
  });
});
