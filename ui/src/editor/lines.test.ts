import { describe, expect, it } from 'vitest';
import { lineDiff } from './lines';

describe('the difference of two texts', () => {
  it('says nothing where nothing is different', () => expect(lineDiff('a\nb', 'a\nb\n')).toEqual([]));
  it('marks what came and went', () => expect(lineDiff('a\nb\nc', 'a\nx\nc')).toEqual([' a', '-b', '+x', ' c']));
  it('takes new and deleted texts', () => {
    expect(lineDiff('', 'a\nb')).toEqual(['+a', '+b']);
    expect(lineDiff('a', '')).toEqual(['-a']);
  });
  it('cuts what is far from a change', () => {
    const long = Array.from({ length: 30 }, (_, i) => `l${i}`);
    const diff = lineDiff(long.join('\n'), [...long.slice(0, 15), 'new', ...long.slice(15)].join('\n'), 1);
    expect(diff).toEqual(['…', ' l14', '+new', ' l15', '…']);
  });
  it('can be put together again', () => {
    const before = 'a\nb\nc\nd\ne';
    const after = 'b\nc\nX\ne\nf';
    const diff = lineDiff(before, after, 99);
    expect(diff.filter((line) => line[0] !== '+').map((line) => line.slice(1)).join('\n')).toBe(before);
    expect(diff.filter((line) => line[0] !== '-').map((line) => line.slice(1)).join('\n')).toBe(after);
  });
});
