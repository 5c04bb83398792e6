/**
 * How fast it is: the first paint of the graph with 1,000 workloads and 5,000 edges, frames a second on 100 nodes, both as
 * the built dashboard does them in a headless Chromium with the software renderer. `npm run build` first.
 */
import { loadavg } from 'node:os';
import { browse, serve } from './browser.mjs';

const server = await serve();
const browser = await browse();
const middle = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];

async function firstPaint(fixture) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
  const page = await context.newPage();
  // A process for the page is there already, as it is for whoever follows a link; nothing is cached.
  await page.goto(`${server.base}/favicon.svg`);
  await page.goto(`${server.base}/graph?fixture=${fixture}`);
  await page.waitForFunction(() => performance.getEntriesByName('graph-painted').length > 0);
  const found = await page.evaluate(async () => {
    const answer = performance.getEntriesByType('resource').find((one) => one.name.includes('/v1/graph'));
    return {
      frame: performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0,
      graph: performance.getEntriesByName('graph-painted')[0].startTime,
      answered: answer ? answer.responseEnd : 0,
      server: answer ? answer.responseStart - answer.requestStart : 0,
      bytes: answer ? answer.decodedBodySize : 0,
    };
  });
  await context.close();
  return found;
}

async function frames(path, seconds = 5) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
  const page = await context.newPage();
  await page.goto(server.base + path);
  await page.locator('.graph-canvas[data-ready]').waitFor();
  await page.waitForTimeout(1500);
  const found = await page.evaluate(
    (wanted) =>
      new Promise((done) => {
        const times = [];
        const begin = performance.now();
        const step = (now) => {
          times.push(now);
          if (now - begin < wanted * 1000) requestAnimationFrame(step);
          else {
            const gaps = times.slice(1).map((time, i) => time - times[i]).sort((a, b) => a - b);
            const { stage } = document.querySelector('.graph-canvas');
            done({ fps: (times.length - 1) / ((times.at(-1) - times[0]) / 1000), p95: gaps[Math.floor(gaps.length * 0.95)], worst: gaps.at(-1), nodes: stage.cy.nodes().not('.box').length, edges: stage.cy.edges().length, dots: stage.flying() });
          }
        };
        requestAnimationFrame(step);
      }),
    seconds,
  );
  await context.close();
  return found;
}

// Once for warming up: the fixture makes its mesh at the first question.
await firstPaint('scale:1000');
const paints = [];
for (let i = 0; i < 5; i += 1) paints.push(await firstPaint('scale:1000'));
console.log(`1,000 workloads, 5,000 edges: the frame after ${middle(paints.map((one) => one.frame)).toFixed(0)} ms, the graph after ${middle(paints.map((one) => one.graph)).toFixed(0)} ms (median of 5: ${paints.map((one) => one.graph.toFixed(0)).join(', ')})`);
console.log(`  of it the answer (${(paints[0].bytes / 1e6).toFixed(1)} MB) was there after ${middle(paints.map((one) => one.answered)).toFixed(0)} ms, ${middle(paints.map((one) => one.server)).toFixed(0)} ms of these in the fixture`);
for (const [words, path] of [
  ['bookinfo', '/graph?fixture='],
  ['100 nodes', '/graph?fixture=scale:100'],
  ['1,000 folded', '/graph?fixture=scale:1000'],
  ['1,000 all open', '/graph?fixture=scale:1000&open=all'],
]) {
  const found = await frames(path);
  console.log(`${words}: ${found.fps.toFixed(1)} frames/s, p95 ${found.p95.toFixed(1)} ms, worst ${found.worst.toFixed(0)} ms (${found.nodes} nodes, ${found.edges} edges drawn, ${found.dots} dots)`);
}
console.log(`load of the machine: ${loadavg()[0].toFixed(1)}`);
await browser.close();
await server.stop();
