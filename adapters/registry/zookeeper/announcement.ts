import { z } from 'zod';
import { Fault } from '../../../src/kernel/fault.ts';
import type { Announcement } from '../../../src/ports/registry.ts';

/** What others must hold of one process, and read of one node. */
const MOST_BYTES = 8 * 1024;

/** Not strict: a newer host may say more of itself. */
const Announced = z.object({
  host: z.string().regex(/^[a-z][a-z0-9-]{0,39}$/),
  process: z.string().regex(/^[\x21-\x7e]{1,100}$/),
  address: z
    .string()
    .regex(/^(\[[0-9a-fA-F:.]{2,45}\]|[A-Za-z0-9._-]{1,253}):[1-9]\d{0,4}$/)
    .refine((address) => Number(address.slice(address.lastIndexOf(':') + 1)) <= 65_535),
  contracts: z.record(z.string().regex(/^[a-z][a-z0-9-]{0,99}$/), z.string().regex(/^[\x21-\x7e]{1,200}$/)),
  load: z.number().min(0).max(Number.MAX_SAFE_INTEGER),
});

/** Faults: `invalid`/`announcement` when others would not take it. */
export function encode(announcement: Announcement): Buffer {
  const data = Buffer.from(JSON.stringify(announcement));
  const problem = decode(data);
  if (typeof problem === 'string') throw new Fault('invalid', `This process cannot be announced: ${problem}.`, { reason: 'announcement', details: { problem } });
  return data;
}

/** Somebody's announcement, or what is wrong with it. Names no contents: they may be anything. */
export function decode(data: Buffer): Announcement | string {
  if (data.length > MOST_BYTES) return `it has ${data.length} bytes, ${MOST_BYTES} at most`;
  let value: unknown;
  try {
    value = JSON.parse(data.toString());
  } catch {
    return 'it is no JSON';
  }
  const { success, data: announcement, error } = Announced.safeParse(value);
  if (success) return announcement;
  const field = error.issues[0]?.path[0];
  return field === undefined ? 'it is no object' : `${String(field)} is missing or not as it must be`;
}
