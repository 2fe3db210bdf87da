import type { Part } from './bus.ts';

/** Does a work part after part to its end; answers how many messages it has changed. `told` hears the sum after each part but the last. */
export async function inParts(work: (from: { readonly after?: string }) => Promise<Part>, told?: (sofar: number) => void): Promise<number> {
  let total = 0;
  for (let from: { readonly after?: string } = {}; ; ) {
    const { count, next } = await work(from);
    total += count;
    if (next === null) return total;
    told?.(total);
    from = { after: next };
  }
}
