import { z } from 'zod';
import { mustBe } from '../../../src/kernel/wording.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import type { QueueSettings } from '../../../src/ports/bus.ts';

const ONE_YEAR_MS = 31_622_400_000;
const Ms = z.number().min(0).max(ONE_YEAR_MS);

/** What a queue may be told; anything else would be found out by the first message that fails. */
const Settings = z.strictObject({
  name: z.string().min(1).max(255),
  topics: z.array(z.string().min(1).max(255)).max(1_000),
  ordered: z.boolean(),
  attempts: z.int().min(1).max(10_000),
  backoff: z.strictObject({ firstMs: Ms, factor: z.number().min(1).max(1_000), mostMs: Ms, jitter: z.number().min(0).max(1) }),
  delayMs: Ms.int(),
  personal: z.array(z.string()).max(1_000),
});

/** The settings with each topic once, or a fault `invalid` that names what is wrong with them. */
export function checkedSettings(declared: QueueSettings): QueueSettings {
  const { success, data, error } = Settings.safeParse(declared, { error: mustBe });
  if (!success) {
    const problems = error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`);
    throw new Fault('invalid', `Queue ${JSON.stringify(declared.name)} cannot be declared: ${problems.join('; ')}.`, { reason: 'queue_settings', details: { problems } });
  }
  return { ...data, topics: [...new Set(data.topics)] };
}
