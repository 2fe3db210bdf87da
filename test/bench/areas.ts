import type { BenchRow } from './report.ts';

/** What can be measured, by name; each is loaded only when it runs. */
export const areas = {
  inline: async () => (await import('./inline.ts')).benchInline(),
} as const satisfies Record<string, () => Promise<BenchRow[]>>;
