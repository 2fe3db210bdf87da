import type { Context } from 'liquidjs';

/** As Liquid's own limiter says it. */
export const RENDER_TIME_REACHED = 'template render limit exceeded';

/** The time that this thread has had of a processor, ms. */
export function threadMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1_000;
}

/**
 * Liquid's limit of time, counted by what this thread has had of a processor: a machine that is busy with other things
 * makes no template slow. Liquid asks before each tag.
 */
export function renderTimeLimit(ms: number): Context['renderLimit'] {
  const began = threadMs();
  let lookAt = performance.now() + ms;
  return {
    use() {},
    check(now: number) {
      if (now < lookAt) return;
      const left = ms - (threadMs() - began);
      if (left <= 0) throw new Error(RENDER_TIME_REACHED);
      lookAt = now + left;
    },
  } as unknown as Context['renderLimit'];
}
