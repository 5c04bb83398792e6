import type { Browser } from 'playwright-core';
export function serve(port?: number): Promise<{ base: string; real: boolean; stop(): Promise<void>; start(): Promise<void> }>;
export function browse(): Promise<Browser>;
