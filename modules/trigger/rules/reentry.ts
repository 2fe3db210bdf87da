import type { AutomationRule } from '../contract.ts';

/** Times of earlier entries that keep a person out, both ends excluded. */
export interface Window {
  readonly after: number;
  readonly before: number;
}

const NONE: Window = { after: 0, before: 0 };
const EVER: Window = { after: Number.MIN_SAFE_INTEGER, before: Number.MAX_SAFE_INTEGER };

/**
 * By the events' own times, before and after alike: events may arrive late or out of order, and which came first
 * must not decide how often somebody is written to. Two that are exactly a period apart may both enter.
 */
export function reentryWindow(reentry: AutomationRule['reentry'], eventAt: number): Window {
  switch (reentry.kind) {
    case 'once':
      return EVER;
    case 'once_per':
      return { after: eventAt - reentry.periodMs, before: eventAt + reentry.periodMs };
    case 'every_time':
      return NONE;
  }
}
