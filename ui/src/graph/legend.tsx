/** What the signs on the graph mean. */
import { useState } from 'preact/hooks';
import type { Badge } from '../api/mesh';
import { Icon } from '../look/icon';
import { badgeIcons } from './decor';

function Mark({ token, shape }: { token: string; shape: 'dot' | 'diamond' | 'square' | 'line' | 'dashes' }) {
  return (
    <svg width="18" height="10" viewBox="0 0 18 10" aria-hidden="true" style={{ color: `var(--${token})` }}>
      {shape === 'dot' && <circle cx="9" cy="5" r="3.2" fill="currentColor" />}
      {shape === 'diamond' && <path d="M9 .5 13.5 5 9 9.5 4.5 5z" fill="currentColor" />}
      {shape === 'square' && <path d="M6 2h6v6H6z" fill="currentColor" />}
      {shape === 'line' && <path d="M1 5h16" stroke="currentColor" stroke-width="2" />}
      {shape === 'dashes' && <path d="M1 5h16" stroke="currentColor" stroke-width="2" stroke-dasharray="5 3" />}
    </svg>
  );
}

export function Legend() {
  const [open, setOpen] = useState(false);
  return (
    <div class="legend">
      {open && (
        <div class="legend-box" id="legend">
          <h3>Traffic: slower dots are slower answers, more dots are more requests</h3>
          <span>
            <Mark token="good" shape="dot" /> HTTP
          </span>
          <span>
            <Mark token="violet" shape="dot" /> gRPC
          </span>
          <span>
            <Mark token="info" shape="square" /> TCP
          </span>
          <span>
            <Mark token="bad" shape="diamond" /> Failed
          </span>
          <h3>Health</h3>
          <span>
            <Mark token="idle" shape="line" /> Healthy
          </span>
          <span>
            <Mark token="warn" shape="line" /> Degraded
          </span>
          <span>
            <Mark token="bad" shape="line" /> Failing: 10 % or more
          </span>
          <span>
            <Mark token="idle" shape="dashes" /> TCP
          </span>
          <h3>Signs</h3>
          <span>
            <Icon name="lock" /> Mutual TLS
          </span>
          <span style="color:var(--warn)">
            <Icon name="unlock" /> Plain text, at least in part
          </span>
          {(Object.keys(badgeIcons) as Badge[]).map((badge) => (
            <span key={badge}>
              <Icon name={badgeIcons[badge].icon} /> {badgeIcons[badge].words}
            </span>
          ))}
        </div>
      )}
      <button class="btn small" aria-label="Legend" aria-expanded={open} aria-controls="legend" onClick={() => setOpen(!open)}>
        <Icon name="info" />
        <span>Legend</span>
      </button>
    </div>
  );
}
