/** Who comes in, and how. */
import { describe, expect, it } from 'vitest';
import { live } from './stand';

const here = live();

async function tokenOf(name: string, role: string): Promise<string> {
  await here.halcyon(['user', 'add', '--role', role, name]).catch(async () => here.halcyon(['user', 'set', '--role', role, name]));
  return (await here.halcyon(['user', 'token', name])).trim();
}

describe('sign-in', () => {
  it('lets in who has the address that the command line prints, once', async () => {
    const key = await here.key();
    const page = await here.open(key, { guest: true });
    await page.getByText('The whole mesh').waitFor();
    expect(page.url()).not.toContain('key=');
    const second = await here.open(key, { guest: true });
    await second.getByText('That address was good once').waitFor();
    // An old address does not sign out whoever is in.
    await page.goto(key);
    await page.getByText('The whole mesh').waitFor();
  });
  it('refuses a wrong token in words, takes a right one, and lets go', async () => {
    const token = await tokenOf('olga', 'operator');
    const page = await here.open('/services', { guest: true });
    await page.getByLabel('Token').fill('halcyon_not_a_token');
    await page.getByRole('button', { name: 'Sign in' }).click();
    const said = await page.getByRole('alert').innerText();
    expect(said).toMatch(/token/);
    await page.getByLabel('Token').fill(token);
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.getByRole('link', { name: 'productpage', exact: true }).waitFor();
    await page.getByText('user olga').waitFor();
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByLabel('Token').waitFor();
    expect((await page.request.get(`${here.base}/v1/whoami`)).status()).toBe(401);
  });
});

describe('a viewer', () => {
  it('sees, may not write nor tap, and is told why', async () => {
    const token = await tokenOf('vera', 'viewer');
    const page = await here.open('/services/default/reviews', { guest: true });
    await page.getByLabel('Token').fill(token);
    await page.getByRole('button', { name: 'Sign in' }).click();
    const change = page.getByRole('button', { name: 'Change traffic' });
    await change.waitFor();
    expect(await change.isDisabled()).toBe(true);
    expect(await change.getAttribute('title')).toContain('viewer');
    await page.goto(`${here.base}/config/DestinationRule/default/reviews`);
    await page.locator('.cm-line').first().waitFor();
    await page.getByText('Your role is viewer').waitFor();
    expect(await page.locator('.cm-content').getAttribute('aria-readonly')).toBe('true');
    const before = await page.locator('.cm-content').innerText();
    await page.locator('.cm-content').click();
    await page.keyboard.type('nonsense');
    expect(await page.locator('.cm-content').innerText()).toBe(before);
    await page.goto(`${here.base}/services/default/reviews?wizard=shift`);
    await page.getByRole('dialog').getByText('Your role is viewer').waitFor();
    expect(await page.getByRole('button', { name: 'Apply' }).isDisabled()).toBe(true);
    await page.goto(`${here.base}/tap`);
    await page.getByRole('alert').getByText('operator').first().waitFor();
    // The server does not lean on the page for it.
    const forced = await page.evaluate(async () => {
      const answer = await fetch('/v1/resources?kind=DestinationRule&namespace=default&name=reviews', { method: 'DELETE', headers: { 'x-halcyon-dashboard': '1' } });
      return { status: answer.status, text: await answer.text() };
    });
    expect(forced.status).toBe(403);
    expect(forced.text).toContain('viewer');
  });
});
