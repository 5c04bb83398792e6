/** The checks in a browser: one after the other, in one browser. On a busy machine a check may come too late: it has another try. */
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['e2e/*.spec.ts'],
    testTimeout: 60_000,
    hookTimeout: 120_000,
    fileParallelism: false,
    maxConcurrency: 1,
    retry: 1,
  },
});
