/** Every page renders, in both themes without a finding of axe, and fits on a phone. */
import { describe, expect, it } from 'vitest';
import { findings } from './axe';
import { pages, stand } from './stand';

const here = stand();

describe.each(pages)('$path', ({ path, shows }) => {
  it('renders without a fault', async () => {
    const page = await here.open(path);
    await page.getByText(shows).first().waitFor({ timeout: 8000 });
    expect(page.faults).toEqual([]);
    await page.context().close();
  });
  it.each(['light', 'dark'] as const)('has no finding of axe (%s)', async (colorScheme) => {
    const page = await here.open(path, { colorScheme, bypassCSP: true, reducedMotion: 'reduce' });
    await page.getByText(shows).first().waitFor({ timeout: 8000 });
    await page.waitForTimeout(400);
    expect(await findings(page)).toEqual([]);
    await page.context().close();
  });
  it('fits on a phone', async () => {
    const page = await here.open(path, { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true });
    await page.waitForTimeout(700);
    const wide = await page.evaluate(() => ({ page: document.documentElement.scrollWidth, main: document.querySelector('main')?.scrollWidth ?? 0 }));
    expect(wide.page).toBeLessThanOrEqual(390);
    expect(wide.main).toBeLessThanOrEqual(390);
    await page.context().close();
  });
});
