/** What is shown while the control plane does not answer, and that it comes back by itself. */
import { describe, expect, it } from 'vitest';
import { live } from './stand';

const here = live();
const gone = 'The control plane does not answer.';

describe('without the control plane', () => {
  it('keeps what it has, says since when, and recovers', async () => {
    const page = await here.open('/services?refresh=1');
    await page.getByRole('link', { name: 'reviews', exact: true }).waitFor();
    await page.context().setOffline(true);
    await page.getByText(gone).waitFor();
    await page.getByText('Traffic goes on without it').waitFor();
    expect(await page.getByRole('link', { name: 'reviews', exact: true }).isVisible()).toBe(true);
    // A page that was never looked at says so in its own place.
    await page.getByRole('link', { name: 'Proxies' }).click();
    await page.getByRole('alert').getByText('cannot be').or(page.getByText('could not be loaded')).first().waitFor();
    await page.getByRole('link', { name: 'Services' }).click();
    await page.context().setOffline(false);
    await page.getByText(gone).waitFor({ state: 'detached', timeout: 60_000 });
    await page.getByRole('link', { name: 'reviews', exact: true }).waitFor();
  });
  it('notices one that is frozen, while traffic goes on', async () => {
    const control = here.processes.find((one) => one.name === 'control')!.pid;
    const page = await here.open('/services?refresh=1');
    await page.getByRole('link', { name: 'reviews', exact: true }).waitFor();
    process.kill(control, 'SIGSTOP');
    try {
      await page.getByText(gone).waitFor({ timeout: 60_000 });
      expect((await here.get('/productpage')).status).toBe(200);
    } finally {
      process.kill(control, 'SIGCONT');
    }
    await page.getByText(gone).waitFor({ state: 'detached', timeout: 60_000 });
  });
  it('shows errors of the server in their place, in its words', async () => {
    const page = await here.open('/errors');
    await page.route('**/v1/refusals**', (route) => route.fulfill({ status: 500, contentType: 'application/json', body: '{"error":"the ring is broken","hint":"mend it"}' }));
    await page.goto(`${here.base}/errors?namespace=default`);
    await page.getByRole('alert').getByText('the ring is broken').waitFor();
    await page.getByRole('alert').getByText('mend it').waitFor();
  });
  it('says what does not exist', async () => {
    const page = await here.open('/services/default/nobody');
    await page.getByText('There is no such service').waitFor();
    await page.goto(`${here.base}/workloads/default/nobody`);
    await page.getByText('There is no such workload').waitFor();
    await page.goto(`${here.base}/traces/0123456789abcdef0123456789abcdef`);
    await page.getByText('there is no trace 0123456789abcdef').waitFor();
    await page.goto(`${here.base}/nowhere`);
    await page.getByText('There is no such page').waitFor();
  });
});
