/** The difference of two texts, line by line, with little around it. Pure. */

/** Lines with ` `, `+` or `-` before them. Long equal stretches are cut to `around` lines on each side, marked by `…`. */
export function lineDiff(before: string, after: string, around = 3): string[] {
  const a = before === '' ? [] : before.replace(/\n+$/, '').split('\n');
  const b = after === '' ? [] : after.replace(/\n+$/, '').split('\n');
  let head = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) head += 1;
  let tail = 0;
  while (tail < a.length - head && tail < b.length - head && a[a.length - 1 - tail] === b[b.length - 1 - tail]) tail += 1;
  const x = a.slice(head, a.length - tail);
  const y = b.slice(head, b.length - tail);
  const middle: string[] = [];
  if (x.length * y.length > 4_000_000) {
    middle.push(...x.map((line) => `-${line}`), ...y.map((line) => `+${line}`));
  } else {
    const rows = Array.from({ length: x.length + 1 }, () => new Uint32Array(y.length + 1));
    for (let i = x.length - 1; i >= 0; i -= 1) {
      for (let j = y.length - 1; j >= 0; j -= 1) rows[i]![j] = x[i] === y[j] ? rows[i + 1]![j + 1]! + 1 : Math.max(rows[i + 1]![j]!, rows[i]![j + 1]!);
    }
    let i = 0;
    let j = 0;
    while (i < x.length || j < y.length) {
      if (i < x.length && j < y.length && x[i] === y[j]) {
        middle.push(` ${x[i]}`);
        i += 1;
        j += 1;
      } else if (j >= y.length || (i < x.length && rows[i + 1]![j]! >= rows[i]![j + 1]!)) middle.push(`-${x[i++]}`);
      else middle.push(`+${y[j++]}`);
    }
  }
  const all = [...a.slice(0, head).map((line) => ` ${line}`), ...middle, ...a.slice(a.length - tail).map((line) => ` ${line}`)];
  const near = new Set<number>();
  all.forEach((line, n) => {
    if (line[0] !== ' ') for (let k = n - around; k <= n + around; k += 1) near.add(k);
  });
  if (near.size === 0) return [];
  const out: string[] = [];
  let skipped = false;
  all.forEach((line, n) => {
    if (near.has(n)) {
      if (skipped) out.push('…');
      skipped = false;
      out.push(line);
    } else skipped = true;
  });
  if (skipped) out.push('…');
  return out;
}
