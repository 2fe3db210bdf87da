import { z } from 'zod';
import type { Call } from '../../kernel/call.ts';
import { command, contract, query } from '../../kernel/contract.ts';
import { AnyJson } from '../../kernel/json-schema.ts';

const Nothing = z.object({});
const Move = z.object({ topology: z.string(), reads: z.union([z.literal('all'), z.array(z.string())]).optional() });
/** How the module's move is: each a `ModuleMove`. */
const Moves = z.object({ moves: AnyJson });
export type Moves = z.infer<typeof Moves>;

/** Turning back waits for as many tries as it takes to be held for less than a second. */
const LONGEST_MS = 60_000;
const LOOK_MS = 3_000;
const FAULTS = ['module_elsewhere', 'several_processes', 'move_under_way', 'same_storage', 'other_move', 'topology_invalid', 'not_switched', 'not_following', 'reads_differ'];

/** What a host asks of the thread of a module beside its contract: to take its data elsewhere while it works. As `KeptStorages`. */
export interface StorageAccess {
  look(request: z.infer<typeof Nothing>, call: Call): Promise<Moves>;
  move(request: z.infer<typeof Move>, call: Call): Promise<Moves>;
  back(request: z.infer<typeof Nothing>, call: Call): Promise<Moves>;
  finish(request: z.infer<typeof Nothing>, call: Call): Promise<Moves>;
}
export const storageContract = contract<StorageAccess>('storage', {
  look: query({ input: Nothing, output: Moves, timeoutMs: LOOK_MS }),
  move: command({ input: Move, output: Moves, timeoutMs: LOOK_MS, faults: FAULTS }),
  back: command({ input: Nothing, output: Moves, timeoutMs: LONGEST_MS, faults: FAULTS }),
  finish: command({ input: Nothing, output: Moves, timeoutMs: LONGEST_MS, faults: FAULTS }),
});
