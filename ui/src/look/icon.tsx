/** The icons: one 16 x 16 path each, drawn in the text's colour. The same paths are used on the graph's canvas. */
export const paths = {
  graph: 'M4 3.5a1.5 1.5 0 1 0 0 .01M12 5.5a1.5 1.5 0 1 0 0 .01M6 12.5a1.5 1.5 0 1 0 0 .01M5.5 4 10.5 5.3M4.6 5 6 11M7.3 11.6 11 6.8',
  service: 'M8 1.8 13.4 5v6L8 14.2 2.6 11V5zM2.6 5 8 8.2 13.4 5M8 8.2v6',
  workload: 'M3 3h10v4H3zM3 9h10v4H3zM5.2 5h.01M5.2 11h.01',
  gateway: 'M2 8h8.5M7.5 5l3 3-3 3M12.5 2.5v11',
  trace: 'M2 3.5h7M5 8h6M9 12.5h5',
  tap: 'M2 8h2.5l2-5 3 10 2-5H14',
  config: 'M4 1.8h5.2L12.5 5v9.2H4zM9 2v3.2h3.2M6 8h4.5M6 11h4.5',
  proxy: 'M8 2v3M8 11v3M2 8h3M11 8h3M5.2 5.2h5.6v5.6H5.2z',
  shield: 'M8 1.6 13 3.5v4c0 3.2-2.1 5.6-5 6.9-2.9-1.3-5-3.7-5-6.9v-4z',
  history: 'M2.5 8a5.5 5.5 0 1 0 1.7-4M2.3 2.6v2.6h2.6M8 5v3.2l2.2 1.3',
  lock: 'M4 7.2h8v6H4zM5.6 7V5.2a2.4 2.4 0 0 1 4.8 0V7',
  unlock: 'M4 7.2h8v6H4zM5.6 7V4.6a2.4 2.4 0 0 1 4.7-.6',
  search: 'M7 2.5a4.5 4.5 0 1 0 .01 0M10.4 10.4 13.5 13.5',
  hide: 'M2 8s2.2-4 6-4 6 4 6 4-2.2 4-6 4-6-4-6-4zM3 13 13 3',
  play: 'M5 3.2v9.6L12.6 8z',
  pause: 'M5 3.2v9.6M11 3.2v9.6',
  close: 'M4 4l8 8M12 4l-8 8',
  chevron: 'M6 3.5 10.5 8 6 12.5',
  down: 'M3.5 6 8 10.5 12.5 6',
  plus: 'M8 3v10M3 8h10',
  minus: 'M3 8h10',
  fit: 'M2.5 6V2.5H6M10 2.5h3.5V6M13.5 10v3.5H10M6 13.5H2.5V10',
  sun: 'M8 5.2a2.8 2.8 0 1 0 .01 0M8 1.2v1.4M8 13.4v1.4M1.2 8h1.4M13.4 8h1.4M3.2 3.2l1 1M11.8 11.8l1 1M3.2 12.8l1-1M11.8 4.2l1-1',
  moon: 'M13 9.6A5.6 5.6 0 0 1 6.4 3a5.6 5.6 0 1 0 6.6 6.6z',
  auto: 'M2.5 3h11v7.5h-11zM6 13.3h4M8 10.7v2.4',
  menu: 'M2.5 4h11M2.5 8h11M2.5 12h11',
  help: 'M5.8 6a2.2 2.2 0 1 1 3.2 2c-.7.4-1 .8-1 1.6M8 12.2h.01',
  warning: 'M8 2.2 14.3 13.4H1.7zM8 6.5v3.2M8 11.6h.01',
  error: 'M8 1.8a6.2 6.2 0 1 0 .01 0M8 4.8v3.8M8 11h.01',
  info: 'M8 1.8a6.2 6.2 0 1 0 .01 0M8 7.3v4M8 5h.01',
  check: 'M3 8.4 6.4 12 13 4.4',
  split: 'M2 8h4c3 0 3-4.5 7-4.5M6 8c3 0 3 4.5 7 4.5M11 1.7l2 1.8-2 1.8M11 10.7l2 1.8-2 1.8',
  route: 'M3 13V9c0-2 1-3 3-3h7M10.5 3.3 13.2 6l-2.7 2.7M3 3v1',
  fault: 'M9 1.8 3.8 9H8l-1 5.2L12.2 7H8z',
  mirror: 'M8 2v12M5.5 5 2 11h3.5zM10.5 5 14 11h-3.5z',
  clock: 'M8 2a6 6 0 1 0 .01 0M8 4.6V8l2.4 1.6',
  retry: 'M13.3 6.2A5.5 5.5 0 1 0 13.5 8M13.5 2.6v3.6H9.9',
  breaker: 'M1.5 10.5H5L10 4M11 10.5h3.5M5 10.5h.01M11 10.5h.01',
  gauge: 'M2.5 11.5a5.8 5.8 0 1 1 11 0M8 10.5l2.6-3.7',
  entry: 'M8 2a6 6 0 1 0 .01 0M2 8h12M8 2c2.4 2.6 2.4 9.4 0 12M8 2c-2.4 2.6-2.4 9.4 0 12',
  layers: 'M8 2 14 5.2 8 8.4 2 5.2zM2.3 8.2 8 11.2l5.7-3M2.3 11 8 14l5.7-3',
  user: 'M8 2.5a2.7 2.7 0 1 0 .01 0M2.8 13.8c.6-3 2.6-4.4 5.2-4.4s4.6 1.4 5.2 4.4',
  filter: 'M2 3.5h12L9.6 8.6v4.2l-3.2 1V8.6z',
  wand: 'M3 13 10 6M11.5 2v3M13 3.5h-3M13 8.3v2M14 9.3h-2M6.3 2.5v2M7.3 3.5h-2',
  external: 'M9 3h4v4M13 3 7.5 8.5M11 9.5V13H3V5h3.5',
  copy: 'M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3',
  bell: 'M4 11V7a4 4 0 0 1 8 0v4l1 1.5H3zM6.8 14.2h2.4',
  plug: 'M6 2v3M10 2v3M4.5 5h7v3a3.5 3.5 0 0 1-7 0zM8 11.5V14',
  out: 'M9.5 3H3v10h6.5M7 8h7M11.5 5.5 14 8l-2.5 2.5',
} as const;

export type IconName = keyof typeof paths;

export function Icon({ name, size = 16, title }: { name: IconName; size?: number; title?: string }) {
  return (
    <svg width={size} height={size} viewBox="0 0 16 16" fill="none" stroke="currentColor" stroke-width="1.4" stroke-linecap="round"
      stroke-linejoin="round" role={title ? 'img' : undefined} aria-label={title} aria-hidden={title ? undefined : true} style="flex:none">
      {title && <title>{title}</title>}
      <path d={paths[name]} />
    </svg>
  );
}
