/** Each wizard writes documents, the mesh does what they say, and it is undone through the page. Requests through the gateway are the witness. */
import { afterEach, describe, expect, it } from 'vitest';
import { journey, live, servedBy, until, type LivePage } from './stand';

const here = live();
const versions = `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, namespace: default}
spec:
  host: reviews
  subsets:
    - {name: v1, labels: {version: v1}}
    - {name: v2, labels: {version: v2}}
    - {name: v3, labels: {version: v3}}
`;

/** One user's ratings are slow, so that calls of reviews last. */
const slow = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ratings, namespace: default}
spec:
  hosts: [ratings]
  http:
    - match: [{headers: {end-user: {exact: slow}}}]
      fault: {delay: {percentage: {value: 100}, fixedDelay: 2s}}
      route: [{destination: {host: ratings}}]
    - route: [{destination: {host: ratings}}]
`;

afterEach(async () => {
  for (const name of ['reviews', 'ratings']) await here.halcyon(['delete', 'VirtualService', name]).catch(() => '');
  await here.halcyon(['apply', '-f', '-'], versions);
});

/** So many pages, one after the other. */
async function pages(n: number, headers: Record<string, string> = {}) {
  const all = [];
  for (let i = 0; i < n; i += 1) all.push(await here.get('/productpage', headers));
  return all;
}

const servers = async (n: number, headers: Record<string, string> = {}) => [...new Set((await pages(n, headers)).map(servedBy))].sort();

async function wizard(name: string): Promise<LivePage> {
  const page = await here.open(`/services/default/reviews?wizard=${name}`);
  await page.getByText('What is written').waitFor();
  return page;
}

async function apply(page: LivePage, yaml: string): Promise<void> {
  const dialog = page.getByRole('dialog');
  await dialog.getByText(yaml).first().waitFor();
  await dialog.getByText('Valid').waitFor();
  await dialog.getByRole('button', { name: 'Apply' }).click();
  await page.locator('.toast.good').first().waitFor();
  await dialog.waitFor({ state: 'hidden' });
  expect(page.faults).toEqual([]);
}

/** Undone where it was written: the document goes. */
async function erase(page: LivePage): Promise<void> {
  page.on('dialog', (dialog) => void dialog.accept());
  await page.goto(`${here.base}/config/VirtualService/default/reviews`);
  await page.getByRole('button', { name: 'Delete' }).click();
  await page.getByText('is deleted').waitFor();
}

const all = ['reviews-v1', 'reviews-v2', 'reviews-v3'];

describe('wizards', () => {
  it('is reached from the page of a service', async () => {
    const page = await here.open('/services/default/reviews');
    await page.getByRole('button', { name: 'Change traffic' }).click();
    await page.getByRole('button', { name: 'Shift traffic' }).click();
    await page.getByText('What is written').waitFor();
    await page.keyboard.press('Escape');
    await page.getByText('What is written').waitFor({ state: 'detached' });
  });
  it('shift: all to one version, then by weights, then as before', async () => {
    const page = await wizard('shift');
    await page.getByRole('button', { name: 'All to v3' }).click();
    await apply(page, 'subset: v3');
    await until('red stars only', () => servers(6), (now) => now.join() === 'reviews-v3');
    // The page of the service and the graph tell of it.
    await page.goto(`${here.base}/services/default/reviews?wizard=shift`);
    await page.getByRole('slider', { name: 'Share of v1' }).fill('50');
    await apply(page, 'weight: 50');
    await until('two versions', () => servers(16), (now) => now.join() === 'reviews-v1,reviews-v3');
    await page.getByRole('img', { name: /^v1 50.*, v3 50/ }).waitFor();
    await erase(page);
    await until('all three again', () => servers(24), (now) => now.join() === all.join());
  });
  it('route: one user gets one version, others are as before; the history takes it back', async () => {
    const page = await wizard('route');
    await page.getByRole('textbox', { name: 'Value' }).fill('jason');
    await page.getByLabel('Goes to').selectOption('v2');
    await apply(page, 'end-user');
    await until('black stars for jason', () => servers(6, { 'end-user': 'jason' }), (now) => now.join() === 'reviews-v2');
    await until('all three for others', () => servers(24), (now) => now.join() === all.join());
    await erase(page);
    await until('all three for jason too', () => servers(24, { 'end-user': 'jason' }), (now) => now.join() === all.join());
  });
  it('fault: an abort for a tester, and taken away by the wizard', async () => {
    const page = await wizard('fault');
    await page.getByRole('checkbox', { name: 'Delay' }).uncheck();
    await page.getByRole('checkbox', { name: 'Abort' }).check();
    await page.getByLabel('With status').fill('418');
    await page.getByLabel('Of requests').fill('100');
    await apply(page, 'httpStatus: 418');
    await until('the fault', () => here.get('/productpage', { 'end-user': 'tester' }).then(journey), (now) => now.reviews === '418');
    for (const answer of await pages(5)) expect(journey(answer).reviews).toBe('200');
    await page.goto(`${here.base}/services/default/reviews?wizard=fault`);
    await page.getByText('What is written').waitFor();
    await page.getByRole('checkbox', { name: 'Delay' }).uncheck();
    await apply(page, 'fault:');
    await until('no fault', () => here.get('/productpage', { 'end-user': 'tester' }).then(journey), (now) => now.reviews === '200');
  });
  it('fault: a delay is felt', async () => {
    const page = await wizard('fault');
    await page.locator('.num-field', { hasText: /^By/ }).locator('input').fill('700');
    await page.getByLabel('Of requests').fill('100');
    await apply(page, 'fixedDelay: 700ms');
    // A delay cannot come out shorter than it is.
    await until('the delay', () => here.get('/productpage', { 'end-user': 'tester' }), (answer) => answer.ms >= 700);
  });
  it('timeout: what takes too long is given up, and not once it is taken away', async () => {
    await here.halcyon(['apply', '-f', '-'], slow);
    const page = await wizard('timeout');
    await page.getByLabel('Timeout for the whole request').fill('400');
    await page.getByRole('spinbutton', { name: 'Retries' }).fill('0');
    await apply(page, 'timeout: 400ms');
    // One in three asks reviews-v1, which asks no ratings.
    await until('a timeout', () => here.get('/productpage', { 'end-user': 'slow' }).then(journey), (now) => now.reviews === '504');
    await page.goto(`${here.base}/services/default/reviews?wizard=timeout`);
    await page.getByText('What is written').waitFor();
    await page.getByLabel('Timeout for the whole request').fill('');
    await page.getByRole('spinbutton', { name: 'Retries' }).fill('');
    await apply(page, 'timeout:');
    await until('no timeout', async () => (await Promise.all(Array.from({ length: 6 }, () => here.get('/productpage', { 'end-user': 'slow' })))).map((one) => journey(one).reviews), (now) => now.every((status) => status === '200'));
  });
  it('circuit: what is too much is refused at once, and not once it is taken away', async () => {
    await here.halcyon(['apply', '-f', '-'], slow);
    const burst = async () => (await Promise.all(Array.from({ length: 12 }, () => here.get('/productpage', { 'end-user': 'slow' })))).map((one) => journey(one).reviews);
    const page = await wizard('circuit');
    await page.getByLabel('Connections').fill('1');
    await page.getByLabel('Waiting requests').fill('1');
    await page.getByLabel('Requests (HTTP/2)').fill('1');
    await page.getByRole('dialog').getByText(/concerns [1-9]\d* of 7 proxies/).waitFor();
    await apply(page, 'http1MaxPendingRequests: 1');
    await until('refused at the breaker', burst, (now) => now.includes('503'));
    // The callers say so on the page of the service.
    await page.goto(`${here.base}/services/default/reviews?tab=endpoints`);
    const overflows = () => page.getByRole('region', { name: 'What callers say of it' }).locator('tbody tr', { hasText: 'productpage' }).locator('td').last().innerText();
    await until('overflows', overflows, (text) => Number(text) > 0);
    await page.goto(`${here.base}/services/default/reviews?wizard=circuit`);
    await page.getByText('What is written').waitFor();
    await page.getByRole('button', { name: 'Take away' }).click();
    await apply(page, 'connectionPool');
    await until('none refused', burst, (now) => now.every((status) => status === '200'));
  });
});
