/** Light, dark or the system's; and the tokens' colours as the canvas needs them: resolved. */
import { signal } from '@preact/signals';

export type Theme = 'auto' | 'light' | 'dark';

function stored(): Theme {
  try {
    const value = localStorage.getItem('halcyon.theme');
    return value === 'light' || value === 'dark' ? value : 'auto';
  } catch {
    return 'auto';
  }
}

export const theme = signal<Theme>(stored());
/** Counts changes of what is seen, so that canvases draw anew. */
export const painted = signal(0);

export function setTheme(next: Theme): void {
  theme.value = next;
  if (next === 'auto') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  try {
    if (next === 'auto') localStorage.removeItem('halcyon.theme');
    else localStorage.setItem('halcyon.theme', next);
  } catch {
    /* Lasts as long as the page, then. */
  }
  cache.clear();
  painted.value += 1;
}

window.matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
  cache.clear();
  painted.value += 1;
});

const cache = new Map<string, string>();
let probe: HTMLElement | undefined;

/** What a token is now, as `rgb(…)`. */
export function colour(token: string): string {
  let value = cache.get(token);
  if (!value) {
    if (!probe) {
      probe = document.createElement('span');
      probe.hidden = true;
      document.body.append(probe);
    }
    probe.style.color = `var(--${token})`;
    value = getComputedStyle(probe).color;
    cache.set(token, value);
  }
  return value;
}

/** The same with an opacity. */
export function tint(token: string, alpha: number): string {
  const numbers = colour(token).match(/[\d.]+/g) ?? ['0', '0', '0'];
  return `rgba(${numbers[0]}, ${numbers[1]}, ${numbers[2]}, ${alpha})`;
}
