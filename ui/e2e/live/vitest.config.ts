/**
 * The checks against a running demo: one after the other, since they change one mesh. On a busy machine a check may come too
 * late: it has another try.
 */
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['e2e/live/*.spec.ts'],
    testTimeout: 120_000,
    hookTimeout: 120_000,
    fileParallelism: false,
    maxConcurrency: 1,
    retry: 2,
  },
});
