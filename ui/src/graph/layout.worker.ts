/** Lays out away from the page's own thread, so that nothing stutters. */
import { place, type Plan } from './layout';

self.onmessage = (event: MessageEvent<{ n: number; plan: Plan }>) => {
  const { n, plan } = event.data;
  try {
    self.postMessage({ n, placed: place(plan) });
  } catch (error) {
    self.postMessage({ n, error: String(error) });
  }
};
