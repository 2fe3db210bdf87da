import type { Contract } from '../kernel/contract.ts';
import type { Log } from '../kernel/telemetry.ts';
import { bindInline } from './inline.ts';
import { bindInlineStrict } from './inline-strict.ts';
import type { Target } from './target.ts';

type Bind = <T>(target: Target, contract: Contract<T>, log: Log) => T;

/** Every way to reach a module that this build has: one line each. The contract suite runs over this table. */
export const placements = {
  inline: bindInline,
  'inline-strict': bindInlineStrict,
} as const satisfies Record<string, Bind>;

export type Placement = keyof typeof placements;
