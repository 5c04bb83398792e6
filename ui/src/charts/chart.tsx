/** A line chart over time, by uPlot: fixed height, so that nothing jumps; a point leads to the traces behind it. */
import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import './chart.css';
import { colour, painted, tint } from '../shell/theme';
import { clock } from '../words/format';

export interface Line {
  label: string;
  values: (number | null)[];
  /** A token: `c1`, `bad`. */
  token: string;
  fill?: boolean;
  dash?: boolean;
}

interface Props {
  title: string;
  times: number[];
  lines: Line[];
  format: (value: number) => string;
  height?: number;
  /** Upper end of the axis at least here. */
  least?: number;
  most?: number;
  from?: number;
  /** A click on a moment, in seconds since 1970. */
  onPoint?: (second: number, stepS: number) => void;
  small?: boolean;
}

export function Chart(props: Props) {
  const host = useRef<HTMLDivElement>(null);
  const tip = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>();
  const latest = useRef(props);
  latest.current = props;
  const height = props.height ?? 168;
  const shape = props.lines.map((line) => `${line.label}|${line.token}`).join(',');
  const theme = painted.value;

  useEffect(() => {
    const box = host.current;
    if (!box) return undefined;
    const axis = { stroke: colour('text-3'), font: '11px system-ui, sans-serif', ticks: { show: false }, grid: { stroke: tint('line-strong', 0.5), width: 1 } };
    const options: uPlot.Options = {
      width: Math.max(80, box.clientWidth),
      height,
      legend: { show: false },
      padding: [8, props.small ? 4 : 14, 0, 0],
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
      scales: {
        x: { time: true },
        y: {
          range: (_, low, high) => {
            const { least, most, from } = latest.current;
            const top = Math.max(high ?? 0, least ?? 0);
            return [from === undefined ? 0 : Math.min(low ?? from, from), most ?? (top > 0 ? top * 1.12 : 1)];
          },
        },
      },
      axes: props.small
        ? [{ show: false }, { show: false }]
        : [
            { ...axis, size: 26, space: 80, grid: { show: false }, values: (_, at) => at.map((one) => clock(one * 1000).slice(0, at.length > 1 && at[1]! - at[0]! < 60 ? 8 : 5)) },
            { ...axis, size: 56, space: 34, values: (_, at) => at.map((one) => latest.current.format(one)) },
          ],
      series: [
        {},
        ...props.lines.map((line) => ({
          label: line.label,
          stroke: colour(line.token),
          width: 1.5,
          dash: line.dash ? [4, 3] : undefined,
          fill: line.fill ? tint(line.token, 0.12) : undefined,
          points: { show: false },
          spanGaps: false,
        })),
      ],
      hooks: {
        setCursor: [
          (u) => {
            const note = tip.current;
            const i = u.cursor.idx;
            if (!note) return;
            if (i === null || i === undefined || (u.cursor.left ?? -1) < 0) {
              note.hidden = true;
              return;
            }
            const now = latest.current;
            note.replaceChildren();
            const head = document.createElement('div');
            head.className = 'at';
            head.textContent = clock((u.data[0][i] ?? 0) * 1000);
            note.append(head);
            now.lines.forEach((line, n) => {
              const value = u.data[n + 1]?.[i];
              const row = document.createElement('div');
              const mark = document.createElement('i');
              mark.style.background = colour(line.token);
              const words = document.createElement('bdi');
              words.textContent = line.label;
              const number = document.createElement('b');
              number.textContent = value === null || value === undefined ? '–' : now.format(value);
              row.append(mark, words, number);
              note.append(row);
            });
            if (now.onPoint && !now.small) {
              const foot = document.createElement('div');
              foot.className = 'foot';
              foot.textContent = 'Click: traces of this moment';
              note.append(foot);
            }
            note.hidden = false;
            const left = (u.cursor.left ?? 0) + u.bbox.left / devicePixelRatio;
            const flip = left > box.clientWidth / 2;
            note.style.transform = `translate(${flip ? left - note.offsetWidth - 12 : left + 12}px, 6px)`;
          },
        ],
      },
    };
    const made = new uPlot(options, [latest.current.times, ...latest.current.lines.map((line) => line.values)] as uPlot.AlignedData, box);
    plot.current = made;
    const click = () => {
      const i = made.cursor.idx;
      const { times, onPoint } = latest.current;
      if (onPoint && i !== null && i !== undefined && times[i] !== undefined) onPoint(times[i], (times[1] ?? 0) - (times[0] ?? 0) || 10);
    };
    made.over.addEventListener('click', click);
    const resize = new ResizeObserver(() => box.clientWidth > 0 && made.setSize({ width: box.clientWidth, height }));
    resize.observe(box);
    return () => {
      resize.disconnect();
      made.destroy();
      plot.current = undefined;
    };
  }, [shape, theme, height, props.small]);

  useEffect(() => {
    plot.current?.setData([props.times, ...props.lines.map((line) => line.values)] as uPlot.AlignedData);
  }, [props.times, props.lines]);

  const last = props.lines.map((line) => `${line.label} ${[...line.values].reverse().find((value) => value !== null && value !== undefined)?.toFixed(2) ?? 'none'}`).join(', ');
  return (
    <figure class={`chart ${props.onPoint ? 'points' : ''}`} aria-label={`${props.title}. Latest: ${last}`} role="img">
      <div ref={host} class="plot" style={{ height: `${height}px` }} />
      <div ref={tip} class="tip" hidden />
    </figure>
  );
}

export function ChartLegend({ lines }: { lines: Line[] }) {
  return (
    <span class="chart-legend">
      {lines.map((line) => (
        <span key={line.label}>
          <i style={{ background: `var(--${line.token})` }} />
          <bdi class="clip">{line.label}</bdi>
        </span>
      ))}
    </span>
  );
}
