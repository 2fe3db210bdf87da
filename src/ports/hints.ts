import type { Bus } from './bus.ts';

/**
 * Events as they are published, told in every process that asks, whichever of a module's processes handles them: for
 * what may be forgotten and rebuilt (caches, screens). Not durable, at most once; what must happen is a subscription.
 */
export type Hints = Pick<Bus, 'watch' | 'capabilities'>;
export const Hints = Symbol.for('multilith.Hints');
