/** Where we are: the address bar as a signal. Every view has its address, and the history buttons work. */
import { signal, computed } from '@preact/signals';

interface Place {
  path: string;
  search: string;
}

function read(): Place {
  return { path: window.location.pathname, search: window.location.search };
}

const place = signal<Place>(read());
export const path = computed(() => place.value.path);
export const search = computed(() => new URLSearchParams(place.value.search));

window.addEventListener('popstate', () => (place.value = read()));

/** Goes to an address of ours. */
export function go(to: string, replace = false): void {
  const now = window.location.pathname + window.location.search;
  if (to === now) return;
  if (replace) window.history.replaceState(null, '', to);
  else window.history.pushState(null, '', to);
  const before = place.peek().path;
  place.value = read();
  if (before !== place.peek().path) document.querySelector('main')?.scrollTo(0, 0);
}

/** The present address with other parameters; `undefined` and empty take one away. */
export function withParams(changes: Record<string, string | number | undefined>): string {
  const params = new URLSearchParams(place.peek().search);
  for (const [key, value] of Object.entries(changes)) {
    if (value === undefined || value === '') params.delete(key);
    else params.set(key, String(value));
  }
  const text = params.toString().replaceAll('%2F', '/').replaceAll('%3A', ':').replaceAll('%2C', ',');
  return place.peek().path + (text ? `?${text}` : '');
}

export function setParams(changes: Record<string, string | number | undefined>, replace = true): void {
  go(withParams(changes), replace);
}

export function param(name: string): string {
  return search.value.get(name) ?? '';
}

/** Parameters that stay when one goes from page to page. */
const kept = ['window', 'refresh'];

/** An address with encoded parts: `to('services', namespace, name)`. The window of time goes along. */
export function to(...parts: string[]): string {
  return keepParams('/' + parts.map(encodeURIComponent).join('/'));
}

export function keepParams(target: string): string {
  const [before = '', query = ''] = target.split('?');
  const params = new URLSearchParams(query);
  for (const name of kept) {
    const value = search.value.get(name);
    if (value && !params.has(name)) params.set(name, value);
  }
  const text = params.toString().replaceAll('%2F', '/').replaceAll('%3A', ':').replaceAll('%2C', ',');
  return text ? `${before}?${text}` : before;
}

/** The decoded parts of the path. */
export const parts = computed(() =>
  path.value
    .split('/')
    .filter(Boolean)
    .map((part) => {
      try {
        return decodeURIComponent(part);
      } catch {
        return part;
      }
    }),
);

/** Plain clicks on links of ours stay inside the page. */
document.addEventListener('click', (event) => {
  if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const link = (event.target as Element | null)?.closest?.('a[href]') as HTMLAnchorElement | null;
  if (!link || link.target || link.hasAttribute('download') || link.origin !== window.location.origin) return;
  if (link.pathname.startsWith('/v1/')) return;
  event.preventDefault();
  go(link.pathname + link.search);
});
