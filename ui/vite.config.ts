/**
 * How the dashboard is built. `npm run dev` and `npm run preview` answer the API from the fixture;
 * with HALCYON=http://127.0.0.1:20001 they pass it on to a control plane instead.
 */
import { defineConfig } from 'vite';
import { fixture } from './fixture/plugin';

const control = process.env.HALCYON;
const proxy = control
  ? { '/v1': { target: control, changeOrigin: true }, '/login': { target: control, changeOrigin: true }, '/logout': { target: control, changeOrigin: true } }
  : undefined;

export default defineConfig({
  base: '/',
  plugins: control ? [] : [fixture()],
  esbuild: { jsx: 'automatic', jsxImportSource: 'preact' },
  worker: { format: 'es' },
  server: { port: 5173, proxy },
  preview: { port: 4173, proxy },
  build: {
    target: 'es2022',
    outDir: 'dist',
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 700,
    assetsInlineLimit: 0,
  },
  test: { include: ['src/**/*.test.ts'] },
} as Parameters<typeof defineConfig>[0]);
