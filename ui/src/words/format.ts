/** Numbers, times and durations as people read them. Pure. */

const thin = '\u2009';

function digits(value: number, most: number): string {
  return value.toLocaleString('en-GB', { maximumFractionDigits: most, minimumFractionDigits: 0 });
}

/** Three digits that count: 0.042, 1.5, 12.3, 1.2k. */
export function short(value: number | undefined): string {
  if (value === undefined || !Number.isFinite(value)) return '–';
  const size = Math.abs(value);
  if (size === 0) return '0';
  if (size < 0.01) return '<0.01';
  if (size < 1) return digits(value, 2);
  if (size < 100) return digits(value, 1);
  if (size < 10_000) return digits(value, 0);
  if (size < 1_000_000) return `${digits(value / 1000, 1)}k`;
  return `${digits(value / 1_000_000, 1)}M`;
}

export function rate(value: number | undefined): string {
  return value === undefined ? '–' : `${short(value)}${thin}rps`;
}

export function percent(share: number | undefined): string {
  if (share === undefined || !Number.isFinite(share)) return '–';
  const value = share * 100;
  if (value === 100 || value === 0) return `${value}${thin}%`;
  // A share just below all must not read as all.
  if (value > 99.99) return `99.99${thin}%`;
  if (value > 99) return `${(Math.floor(value * 100) / 100).toFixed(2)}${thin}%`;
  if (value < 0.01) return `<0.01${thin}%`;
  return `${value.toFixed(value < 10 ? 2 : 1)}${thin}%`;
}

export function millis(value: number | undefined): string {
  if (value === undefined || value === null || !Number.isFinite(value)) return '–';
  if (value < 1) return `${digits(value, 2)}${thin}ms`;
  if (value < 10) return `${digits(value, 1)}${thin}ms`;
  if (value < 1000) return `${digits(value, 0)}${thin}ms`;
  if (value < 60_000) return `${digits(value / 1000, 2)}${thin}s`;
  return `${digits(value / 60_000, 1)}${thin}min`;
}

export function micros(value: number): string {
  return value < 1000 ? `${digits(value, 0)}${thin}µs` : millis(value / 1000);
}

export function bytes(value: number | undefined): string {
  if (value === undefined || !Number.isFinite(value)) return '–';
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let size = value;
  let unit = 0;
  while (size >= 1000 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${digits(size, size < 10 && unit > 0 ? 1 : 0)}${thin}${units[unit]}`;
}

export function bytesRate(value: number | undefined): string {
  return value === undefined ? '–' : `${bytes(value)}/s`;
}

/** `3 min`, `5 h`, `2 d`: how long, in the largest unit that says enough. */
export function span(ms: number): string {
  const s = Math.round(Math.abs(ms) / 1000);
  if (s < 60) return `${s}${thin}s`;
  const min = Math.round(s / 60);
  if (min < 60) return `${min}${thin}min`;
  const h = Math.floor(min / 60);
  if (h < 48) return min % 60 === 0 || h >= 10 ? `${h}${thin}h` : `${h}${thin}h ${min % 60}${thin}min`;
  return `${Math.floor(h / 24)}${thin}d`;
}

export function ago(time: string | number | undefined, now = Date.now()): string {
  if (time === undefined) return '–';
  const at = typeof time === 'number' ? time : Date.parse(time);
  if (!Number.isFinite(at)) return '–';
  const past = now - at;
  if (Math.abs(past) < 1500) return 'now';
  return past > 0 ? `${span(past)} ago` : `in ${span(past)}`;
}

function two(value: number): string {
  return String(value).padStart(2, '0');
}

export function clock(time: string | number, milliseconds = false): string {
  const at = new Date(time);
  if (Number.isNaN(at.getTime())) return '–';
  const text = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  return milliseconds ? `${text}.${String(at.getMilliseconds()).padStart(3, '0')}` : text;
}

export function dateTime(time: string | number): string {
  const at = new Date(time);
  if (Number.isNaN(at.getTime())) return '–';
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${clock(time)}`;
}

export function count(value: number, one: string, many = `${one}s`): string {
  return `${digits(value, 0)} ${value === 1 ? one : many}`;
}
