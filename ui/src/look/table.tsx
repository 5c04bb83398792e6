/** A table that sorts, filters nothing, and shows long lists in portions. */
import type { ComponentChildren } from 'preact';
import { useMemo, useState } from 'preact/hooks';
import { Icon } from './icon';

export interface Column<T> {
  key: string;
  title: ComponentChildren;
  cell: (row: T) => ComponentChildren;
  /** What is sorted by; without it the column does not sort. */
  by?: (row: T) => string | number | undefined;
  num?: boolean;
  /** Left out on narrow screens. */
  wide?: boolean;
  width?: string;
  /** Takes this share of the room that the others leave, and clips what is longer. */
  share?: string;
}

interface Props<T> {
  rows: T[];
  columns: Column<T>[];
  id: (row: T) => string;
  label: string;
  sort?: string;
  down?: boolean;
  empty?: ComponentChildren;
  onRow?: (row: T) => void;
  on?: (row: T) => boolean;
  portion?: number;
}

export function compare(a: string | number | undefined, b: string | number | undefined): number {
  if (a === undefined || b === undefined) return a === b ? 0 : a === undefined ? 1 : -1;
  if (typeof a === 'number' && typeof b === 'number') return a - b;
  return String(a).localeCompare(String(b), 'en', { numeric: true });
}

export function Table<T>(props: Props<T>) {
  const [sort, setSort] = useState({ key: props.sort ?? '', down: props.down ?? false });
  const [shown, setShown] = useState(props.portion ?? 100);
  const sorted = useMemo(() => {
    const column = props.columns.find((one) => one.key === sort.key);
    if (!column?.by) return props.rows;
    const by = column.by;
    const sign = sort.down ? -1 : 1;
    return [...props.rows].sort((a, b) => sign * compare(by(a), by(b)) || compare(props.id(a), props.id(b)));
  }, [props.rows, sort]);
  if (props.rows.length === 0 && props.empty) return <>{props.empty}</>;
  return (
    <>
      <div class="table-box" tabIndex={0} role="region" aria-label={props.label}>
        <table class="table">
          <thead>
            <tr>
              {props.columns.map((column) => (
                <th
                  key={column.key}
                  scope="col"
                  class={`${column.num ? 'num' : ''} ${column.wide ? 'wide' : ''}`}
                  style={column.share ?? column.width ? { width: column.share ?? column.width } : undefined}
                  aria-sort={sort.key === column.key ? (sort.down ? 'descending' : 'ascending') : undefined}
                >
                  {column.by ? (
                    <button type="button" onClick={() => setSort({ key: column.key, down: sort.key === column.key ? !sort.down : !!column.num })}>
                      {column.title}
                      <span style={{ opacity: sort.key === column.key ? 1 : 0, display: 'inline-flex', transform: sort.down ? '' : 'rotate(180deg)' }}>
                        <Icon name="down" size={10} />
                      </span>
                    </button>
                  ) : (
                    column.title
                  )}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {sorted.slice(0, shown).map((row) => (
              <tr key={props.id(row)} class={props.on?.(row) ? 'on' : ''} onClick={props.onRow ? () => props.onRow?.(row) : undefined} style={props.onRow ? 'cursor:pointer' : undefined}>
                {props.columns.map((column) => (
                  <td key={column.key} class={`${column.num ? 'num' : ''} ${column.wide ? 'wide' : ''} ${column.key === 'name' ? 'name' : ''} ${column.share ? 'share' : ''}`}>
                    {column.cell(row)}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {sorted.length > shown && (
        <div class="more">
          <span class="faint">
            {shown} of {sorted.length}
          </span>
          <button class="btn small" type="button" onClick={() => setShown(shown + 200)}>
            Show more
          </button>
        </div>
      )}
    </>
  );
}
