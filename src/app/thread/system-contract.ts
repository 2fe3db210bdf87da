import { z } from 'zod';
import type { Call } from '../../kernel/call.ts';
import { contract, query } from '../../kernel/contract.ts';
import { SystemStatus } from '../../kernel/system.ts';

const Nothing = z.object({});

/** What a thread asks of its host beside contracts of modules and messages: how the installation is doing. */
export interface SystemAccess {
  status(request: z.infer<typeof Nothing>, call: Call): Promise<SystemStatus>;
}
export const systemContract = contract<SystemAccess>('system', {
  status: query({ input: Nothing, output: SystemStatus, timeoutMs: 3_000 }),
});
