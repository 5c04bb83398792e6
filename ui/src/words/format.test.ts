import { describe, expect, it } from 'vitest';
import { ago, bytes, micros, millis, percent, rate, short, span } from './format';

const plain = (text: string) => text.replaceAll('\u2009', ' ');

describe('numbers as people read them', () => {
  it('keeps the digits that count', () => {
    expect([0, 0.004, 0.42, 1.25, 12.34, 123.4, 12_345, 2_500_000].map(short)).toEqual(['0', '<0.01', '0.42', '1.3', '12.3', '123', '12.3k', '2.5M']);
    expect(plain(rate(3.14))).toBe('3.1 rps');
    expect(rate(undefined)).toBe('–');
  });
  it('does not round a loss away', () => {
    expect(plain(percent(1))).toBe('100 %');
    expect(plain(percent(0.99999))).toBe('99.99 %');
    expect(plain(percent(0.99996))).toBe('99.99 %');
    expect(plain(percent(0.9876))).toBe('98.8 %');
    expect(plain(percent(0.00001))).toBe('<0.01 %');
    expect(percent(undefined)).toBe('–');
  });
  it('tells times', () => {
    expect([0.4, 3.25, 42.4, 1500, 90_000].map((value) => plain(millis(value)))).toEqual(['0.4 ms', '3.3 ms', '42 ms', '1.5 s', '1.5 min']);
    expect(plain(micros(250))).toBe('250 µs');
    expect(plain(bytes(1500))).toBe('1.5 kB');
    expect([3000, 90_000, 5_400_000, 200_000_000].map((value) => plain(span(value)))).toEqual(['3 s', '2 min', '1 h 30 min', '2 d']);
    expect(plain(ago(1000, 61_000))).toBe('1 min ago');
    expect(plain(ago(7_200_000, 0))).toBe('in 2 h');
    expect(ago('not a time')).toBe('–');
  });
});
