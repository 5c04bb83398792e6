/** Every page with live data: it shows what it should, reports no fault, axe finds nothing in either theme, and it fits on a phone. */
import { describe, expect, it } from 'vitest';
import { findings } from '../axe';
import { live } from './stand';

const here = live();

/** The words come last of what is shown: what still changes would be looked at halfway. */
const pages: [path: string, shows: string][] = [
  ['/graph', 'The whole mesh'],
  ['/graph?sel=workload:default/productpage-v1', 'Called by'],
  ['/services', 'productpage'],
  ['/services/default/reviews', 'Success rate'],
  ['/services/default/reviews?tab=routes', 'Routes'],
  ['/services/default/reviews?tab=endpoints', 'default/productpage-v1'],
  ['/services/default/reviews?tab=policies', 'DestinationRule in default'],
  ['/services/default/reviews?tab=traces', 'productpage.default'],
  ['/services/default/reviews?tab=errors', 'Errors'],
  ['/services/default/reviews?wizard=shift', 'Valid'],
  ['/workloads', 'ratings-v1'],
  ['/workloads/default/productpage-v1', 'bookinfo-productpage'],
  ['/workloads/default/productpage-v1?tab=calls', 'default/details-v1'],
  ['/workloads/default/productpage-v1?tab=instances', 'Certificate ends'],
  ['/gateways', 'ingressgateway'],
  ['/gateways/default/ingressgateway', '8080 HTTP'],
  ['/traces', 'ingressgateway'],
  ['/tap', 'Live from 7 proxies'],
  ['/errors', 'What was refused or failed'],
  ['/config', 'documents at version'],
  ['/config?tab=problems', 'Configuration'],
  ['/config/new', 'Valid'],
  ['/config/VirtualService/default/bookinfo', 'apiVersion'],
  ['/config/VirtualService/default/bookinfo?tab=history', 'created'],
  ['/proxies', '7 proxies connected'],
  ['/security', 'Trusted roots'],
  ['/security?tab=certificates', 'spiffe://cluster.local/ns/default/sa/bookinfo-ratings'],
  ['/security?tab=mtls', 'PeerAuthentication'],
  ['/security?tab=access', 'May call'],
  ['/history', 'Every change'],
];

describe.each(pages)('%s', (path, shows) => {
  it.each(['light', 'dark'] as const)('shows it without a fault, and axe finds nothing (%s)', async (colorScheme) => {
    const page = await here.open(path, { colorScheme, bypassCSP: true, reducedMotion: 'reduce' });
    await page.getByRole('main').getByText(shows).first().waitFor();
    // What is still drawn as a skeleton has no words to look at.
    await page.waitForFunction(() => document.querySelectorAll('main .skeleton').length === 0);
    expect(await findings(page)).toEqual([]);
    expect(page.faults).toEqual([]);
  });
  it('fits on a phone, and axe finds nothing there', async () => {
    const page = await here.open(path, { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true, bypassCSP: true, reducedMotion: 'reduce' });
    // There is no room for some of it: it is there all the same.
    await page.getByRole('main').getByText(shows).first().waitFor({ state: 'attached' });
    await page.waitForFunction(() => document.querySelectorAll('main .skeleton').length === 0);
    const wide = await page.evaluate(() => ({ page: document.documentElement.scrollWidth, main: document.querySelector('main')!.scrollWidth }));
    expect(wide).toEqual({ page: 390, main: 390 });
    expect(await findings(page)).toEqual([]);
  });
});
