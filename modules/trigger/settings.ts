import { z } from 'zod';

/** `modules.trigger` in the configuration. */
export const TriggerSettings = z.strictObject({
  /** Automations that one workspace may have; one more is refused with `exhausted`. */
  automationsPerWorkspace: z.int().min(1).max(100_000).default(5_000),
  /** Compiled automations kept in memory, some 4 KB each; the workspaces asked for longest ago make room. */
  rulesInMemory: z.int().min(1).max(10_000_000).default(100_000),
  /** Rows of the agenda that one transaction fires. */
  agendaBatchRows: z.int().min(1).max(1_000).default(100),
});
export type TriggerSettings = z.infer<typeof TriggerSettings>;
