import { describe, expect, it, vi } from 'vitest';

vi.stubGlobal('document', { addEventListener: () => undefined, hidden: false });

describe('asking again after failures', () => {
  it('waits longer each time, up to half a minute, never all at once', async () => {
    const { backoff } = await import('./poll');
    expect([1, 2, 3, 4].map((n) => backoff(n, 0.5))).toEqual([1000, 2000, 4000, 8000]);
    expect(backoff(50, 0.5)).toBe(30_000);
    expect(backoff(3, 0)).toBeLessThan(backoff(3, 1));
  });
});
