import type { PastTries } from '../../../src/ports/bus.ts';

/** From its column, which is null while nothing has gone wrong. */
export function historyOf(text: string | null): readonly PastTries[] {
  return text === null ? [] : (JSON.parse(text) as PastTries[]);
}
