/** What is seen where there is nothing yet, nothing at all, or something went wrong. */
import type { ComponentChildren } from 'preact';
import type { Failure, Problem } from '../api/call';
import type { Entry } from '../api/poll';
import { Icon, type IconName } from './icon';

export function Skeleton({ height = 16, width = '100%' }: { height?: number; width?: number | string }) {
  return <span class="skeleton" aria-hidden="true" style={{ height: `${height}px`, width: typeof width === 'number' ? `${width}px` : width }} />;
}

export function SkeletonRows({ rows = 8 }: { rows?: number }) {
  return (
    <div class="stack-s" style="padding:16px" role="status" aria-label="Loading">
      {Array.from({ length: rows }, (_, i) => (
        <Skeleton key={i} height={24} width={`${92 - ((i * 13) % 30)}%`} />
      ))}
    </div>
  );
}

export function Empty({ icon = 'info', title, children, action }: { icon?: IconName; title: string; children?: ComponentChildren; action?: ComponentChildren }) {
  return (
    <div class="state">
      <Icon name={icon} size={28} />
      <h3>{title}</h3>
      {children && <p>{children}</p>}
      {action}
    </div>
  );
}

export function FailureState({ failure, again }: { failure: Failure; again?: () => void }) {
  return (
    <div class="state bad" role="alert">
      <Icon name="error" size={28} />
      <h3>{failure.error}</h3>
      {failure.hint && <p>{failure.hint}</p>}
      {failure.problems && failure.problems.length > 0 && <ProblemList problems={failure.problems} />}
      {again && (
        <button class="btn" onClick={again}>
          Try again
        </button>
      )}
    </div>
  );
}

export function FailureNote({ failure }: { failure: Failure }) {
  return (
    <div class="note bad" role="alert">
      <Icon name="error" />
      <div class="grow">
        <p>
          <strong>{failure.error}</strong>
        </p>
        {failure.hint && <p class="muted">{failure.hint}</p>}
      </div>
    </div>
  );
}

export function Note({ kind = 'info', children }: { kind?: 'info' | 'warn' | 'bad' | 'good'; children: ComponentChildren }) {
  const icon: IconName = kind === 'warn' ? 'warning' : kind === 'bad' ? 'error' : kind === 'good' ? 'check' : 'info';
  return (
    <div class={`note ${kind}`}>
      <Icon name={icon} />
      <div class="grow">{children}</div>
    </div>
  );
}

export function Notices({ notices }: { notices?: string[] }) {
  if (!notices || notices.length === 0) return null;
  return (
    <Note>
      {notices.map((notice) => (
        <p key={notice}>{notice}</p>
      ))}
    </Note>
  );
}

/** Problems with their place and what to do. */
export function ProblemList({ problems, onLine }: { problems: Problem[]; onLine?: (line: number, column: number) => void }) {
  return (
    <ul class="problems">
      {problems.map((problem, i) => {
        const place = problem.line > 0 ? `line ${problem.line}${problem.column > 0 ? `:${problem.column}` : ''}` : '';
        return (
          <li key={i} class={problem.level}>
            <Icon name={problem.level === 'error' ? 'error' : problem.level === 'warning' ? 'warning' : 'info'} title={problem.level} />
            <div class="grow">
              <p>
                {problem.message}
                {problem.expected && <span class="muted"> (expected {problem.expected})</span>}
              </p>
              <p class="faint where">
                {place && onLine ? (
                  <button class="linklike" onClick={() => onLine(problem.line, problem.column)}>
                    {place}
                  </button>
                ) : (
                  place
                )}
                {problem.path && <code>{problem.path}</code>}
                {problem.hint && <span>{problem.hint}</span>}
              </p>
            </div>
            <code class="faint code">{problem.code}</code>
          </li>
        );
      })}
    </ul>
  );
}

/** A read as it stands: skeleton, failure (only where nothing is known), or what it gave. */
export function Loaded<T>({ entry, rows, children, skeleton }: { entry: Entry<T>; rows?: number; skeleton?: ComponentChildren; children: (data: T) => ComponentChildren }) {
  if (entry.data !== undefined) return <>{children(entry.data)}</>;
  if (entry.failure) return <FailureState failure={entry.failure} />;
  return <>{skeleton ?? <SkeletonRows rows={rows} />}</>;
}
