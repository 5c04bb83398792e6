/** The graph shows nodes, moves, finds, hides, folds, replays, and keeps all of it in the address. */
import { describe, expect, it } from 'vitest';
import type { Page } from 'playwright-core';
import { stand } from './stand';

const here = stand();

interface Shown {
  nodes: string[];
  found: string[];
  flying: number;
  positions: Record<string, { x: number; y: number }>;
}

async function shown(page: Page): Promise<Shown> {
  await page.locator('.graph-canvas[data-ready]').waitFor({ timeout: 10_000 });
  return page.evaluate(() => {
    const { stage } = document.querySelector('.graph-canvas') as unknown as { stage: { cy: any; flying(): number } };
    const nodes = stage.cy.nodes().not('.box');
    return { nodes: nodes.map((one: any) => one.id()), found: stage.cy.elements('.found').map((one: any) => one.id()), flying: stage.flying(), positions: Object.fromEntries(nodes.map((one: any) => [one.id(), { ...one.position() }])) };
  });
}

const dots = (page: Page) => page.evaluate(() => document.querySelector<HTMLCanvasElement>('canvas[data-layer=traffic]')!.toDataURL());

describe('the graph', () => {
  it('shows the mesh and moves', async () => {
    const page = await here.open('/graph');
    expect((await shown(page)).nodes).toContain('workload:default/reviews-v1');
    await page.waitForTimeout(300);
    const first = await dots(page);
    await page.waitForTimeout(300);
    expect(await dots(page)).not.toBe(first);
    expect((await shown(page)).flying).toBeGreaterThan(5);
  });
  it('stands still where motion is not wanted', async () => {
    const page = await here.open('/graph', { reducedMotion: 'reduce' });
    await shown(page);
    const first = await dots(page);
    await page.waitForTimeout(400);
    expect(await dots(page)).toBe(first);
  });
  it('keeps positions from read to read', async () => {
    const page = await here.open('/graph?refresh=1');
    const first = await shown(page);
    await page.waitForTimeout(2600);
    expect((await shown(page)).positions).toEqual(first.positions);
  });
  it('finds and hides, by key and by address', async () => {
    const page = await here.open('/graph');
    await shown(page);
    await page.keyboard.press('/');
    await page.keyboard.type('name *= reviews');
    await page.getByText('3 found').waitFor();
    expect((await shown(page)).found.filter((id) => !id.includes('>')).sort()).toEqual(['workload:default/reviews-v1', 'workload:default/reviews-v2', 'workload:default/reviews-v3']);
    expect(page.url()).toContain('find=');
    await page.getByLabel('Hide', { exact: true }).fill('namespace = shop');
    await page.waitForFunction(() => !location.search.includes('zzz') && location.search.includes('hide='));
    await page.waitForTimeout(400);
    expect((await shown(page)).nodes.some((id) => id.includes('shop/'))).toBe(false);
    await page.getByLabel('Find', { exact: true }).fill('htpin > 3');
    await page.getByText('Did you mean `httpin`').waitFor();
  });
  it('selects by arrow keys and tells about it', async () => {
    const page = await here.open('/graph');
    await shown(page);
    await page.locator('.graph-canvas').focus();
    await page.keyboard.press('ArrowRight');
    await page.keyboard.press('ArrowRight');
    await page.waitForFunction(() => location.search.includes('sel='));
    await page.getByText('Go on').waitFor();
    await page.keyboard.press('Escape');
    await page.getByText('The whole mesh').waitFor();
  });
  it('shows an edge with its codes, flags and identities', async () => {
    const page = await here.open('/graph?sel=workload:default/reviews-v3>workload:default/ratings-v1>http');
    await page.getByText('Answers').waitFor();
    await page.getByText('Mutual TLS', { exact: true }).first().waitFor();
    await page.getByText('ratings.default.svc.cluster.local').waitFor();
  });
  it('groups by app and by version, and folds', async () => {
    const page = await here.open('/graph?group=app');
    await shown(page);
    expect(await page.evaluate(() => (document.querySelector('.graph-canvas') as any).stage.cy.nodes('.box').map((one: any) => one.id()))).toContain('appbox:default/reviews');
    const folded = await here.open('/graph?fold=1');
    expect((await shown(folded)).nodes).toContain('group:ns:default');
  });
  it('begins folded with a thousand workloads, and opens a group', async () => {
    const page = await here.open('/graph', { fixture: 'scale:1000' });
    const first = await shown(page);
    expect(first.nodes.length).toBeLessThan(60);
    await page.goto(`${here.base}/graph?sel=group:ns:team-03`);
    await shown(page);
    await page.getByRole('button', { name: 'Open the group' }).click();
    await page.waitForFunction(() => (document.querySelector('.graph-canvas') as any).stage.cy.nodes().length > 60);
  });
  it('replays', async () => {
    const page = await here.open('/graph');
    await shown(page);
    await page.getByRole('slider', { name: 'Moment of the last six hours' }).fill('10800');
    await page.waitForFunction(() => location.search.includes('at='));
    await page.getByRole('button', { name: 'Play from here' }).click();
    const before = page.url();
    await page.waitForTimeout(1600);
    expect(page.url()).not.toBe(before);
    await page.getByRole('button', { name: 'Now', exact: true }).click();
    await page.getByText('Live', { exact: true }).waitFor();
  });
});
