/** Configuration: the list, the editor with the validation of `apply`, the history and the way back. */
import { afterEach, describe, expect, it } from 'vitest';
import { live, until, type LivePage } from './stand';

const here = live();

const rule = (mark: string) => `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: spare
  namespace: default
  annotations:
    mark: "${mark}"
spec:
  host: details
`;

async function write(page: LivePage, text: string): Promise<void> {
  await page.locator('.cm-content').click();
  await page.keyboard.press('Control+A');
  await page.keyboard.insertText(text);
}

describe('configuration', () => {
  afterEach(() => here.halcyon(['delete', 'DestinationRule', 'spare']).catch(() => ''));

  it('lists every document, and narrows the list', async () => {
    const page = await here.open('/config');
    await page.getByRole('link', { name: 'bookinfo-gateway' }).waitFor();
    const stored = JSON.parse(await here.halcyon(['get', 'DestinationRule', '-o', 'json']));
    const count = (Array.isArray(stored) ? stored : stored.items).length as number;
    await page.getByLabel('Kind').selectOption('DestinationRule');
    const rows = page.getByRole('main').locator('tbody tr');
    await until('as many rows as there are', () => rows.count(), (n) => n === count);
    expect(page.faults).toEqual([]);
  });
  it('shows a mistake at its line, as apply would tell it, and writes nothing', async () => {
    const page = await here.open('/config/new');
    await write(page, rule('x').replace('host: details', 'hsot: details'));
    await page.getByRole('button', { name: /^line 9/ }).first().waitFor();
    await page.getByText('Did you mean `host`?').or(page.getByText('hsot').last()).first().waitFor();
    await page.locator('.cm-lintRange-error').first().waitFor();
    expect(await page.getByRole('button', { name: 'Apply' }).isDisabled()).toBe(true);
    await page.getByRole('button', { name: /^line 9/ }).first().click();
    expect(await page.evaluate(() => document.activeElement?.className)).toContain('cm-content');
    expect(await here.halcyon(['get', 'DestinationRule'])).not.toContain('spare');
  });
  it('writes what is right, shows its history with differences, rolls back and deletes', async () => {
    const page = await here.open('/config/new');
    await write(page, rule('first'));
    await page.locator('.config-foot').getByText('Valid').waitFor();
    await page.getByRole('button', { name: 'Apply' }).click();
    await page.waitForURL(/\/config\/DestinationRule\/default\/spare/);
    await page.locator('.cm-line', { hasText: 'first' }).waitFor();
    await write(page, rule('second'));
    await page.locator('.config-foot').getByText('Valid').waitFor();
    await page.getByRole('button', { name: 'Apply' }).click();
    await page.locator('.toast.good', { hasText: 'configured' }).waitFor();
    expect(await here.halcyon(['get', 'DestinationRule', 'spare', '-o', 'yaml'])).toContain('second');
    await page.getByRole('navigation', { name: 'Views' }).getByRole('link', { name: 'History' }).click();
    const entries = page.locator('.refusal');
    await until('two entries', () => entries.count(), (n) => n === 2);
    await entries.first().locator('.refusal-head').click();
    expect(await entries.first().locator('.yaml .del').first().innerText()).toContain('first');
    expect(await entries.first().locator('.yaml .add').first().innerText()).toContain('second');
    await entries.last().getByRole('button', { name: 'Roll back' }).click();
    await page.getByText(/Rolled back to version/).waitFor();
    expect(await here.halcyon(['get', 'DestinationRule', 'spare', '-o', 'yaml'])).toContain('first');
    page.on('dialog', (dialog) => void dialog.accept());
    await page.getByRole('button', { name: 'Delete' }).click();
    await page.getByText('is deleted').waitFor();
    expect(await here.halcyon(['get', 'DestinationRule'])).not.toContain('spare');
    // Who did it stands in the log.
    await page.goto(`${here.base}/history?q=spare`);
    await page.locator('.refusal', { hasText: 'deleted' }).first().waitFor();
    expect(page.faults).toEqual([]);
  });
  it('says that somebody else wrote meanwhile', async () => {
    await here.halcyon(['apply', '-f', '-'], rule('mine'));
    const page = await here.open('/config/DestinationRule/default/spare');
    await page.locator('.cm-line', { hasText: 'mine' }).waitFor();
    await write(page, rule('half a thought'));
    await here.halcyon(['apply', '-f', '-'], rule('theirs'));
    await page.getByText('Somebody else wrote it meanwhile').waitFor();
    await page.getByRole('button', { name: 'Take theirs' }).click();
    await page.locator('.cm-line', { hasText: 'theirs' }).waitFor();
  });
});
