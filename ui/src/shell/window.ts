/** The window of time and how often it is read: in the address, the same for all pages. */
import { computed } from '@preact/signals';
import { search, setParams } from './location';

export const windows: { seconds: number; label: string }[] = [
  { seconds: 60, label: '1m' },
  { seconds: 300, label: '5m' },
  { seconds: 600, label: '10m' },
  { seconds: 1800, label: '30m' },
  { seconds: 3600, label: '1h' },
  { seconds: 21600, label: '6h' },
];

export const refreshes: { seconds: number; label: string }[] = [
  { seconds: 0, label: 'Paused' },
  { seconds: 5, label: '5 s' },
  { seconds: 10, label: '10 s' },
  { seconds: 30, label: '30 s' },
  { seconds: 60, label: '1 min' },
];

export const windowS = computed(() => {
  const asked = Number(search.value.get('window'));
  return Number.isFinite(asked) && asked >= 1 && asked <= 21600 ? Math.round(asked) : 60;
});

export const refreshS = computed(() => {
  const text = search.value.get('refresh');
  if (text === null) return 5;
  const asked = Number(text);
  return Number.isFinite(asked) && asked >= 0 ? asked : 5;
});

/** For charts: as long as the window, but never shorter than ten minutes, so that a course is seen. */
export const chartSpanS = computed(() => Math.max(600, windowS.value));

export function setWindow(seconds: number): void {
  setParams({ window: seconds === 60 ? undefined : seconds });
}

export function setRefresh(seconds: number): void {
  setParams({ refresh: seconds === 5 ? undefined : seconds });
}
