/** Tabs that are links: each has its address. */
import { withParams } from '../shell/location';

export function Tabs({ on, tabs }: { on: string; tabs: { key: string; label: string; count?: number }[] }) {
  return (
    <nav class="tabs" aria-label="Views">
      {tabs.map((tab, i) => (
        <a key={tab.key} href={withParams({ tab: i === 0 ? undefined : tab.key })} aria-current={tab.key === on ? 'page' : undefined}>
          {tab.label}
          {tab.count !== undefined && <span class="count">{tab.count}</span>}
        </a>
      ))}
    </nav>
  );
}
