import { z } from 'zod';
import { mustBe } from '../../kernel/wording.ts';
import { Fault } from '../../kernel/fault.ts';
import type { Bus } from '../../ports/bus.ts';

const Filter = z.strictObject({
  workspace: z.exactOptional(z.string()),
  ids: z.exactOptional(z.array(z.string()).max(10_000)),
  name: z.exactOptional(z.string()),
  reason: z.exactOptional(z.string()),
  before: z.exactOptional(z.number()),
});
const Queue = z.string().min(1).max(200);

interface Operation<I> {
  readonly input: z.ZodType<I>;
  run(bus: Bus, input: I): Promise<unknown>;
}
const operation = <I>(input: z.ZodType<I>, run: Operation<I>['run']): Operation<I> => ({ input, run });

/** What staff may do with the queues: over the control socket, or by the command line itself while no host runs. */
const OPERATIONS = {
  inspect: operation(z.strictObject({ queue: z.exactOptional(Queue), workspace: z.exactOptional(z.string()) }), (bus, which) => bus.inspect(which)),
  browse: operation(z.strictObject({ queue: Queue, dead: z.boolean(), filter: Filter, after: z.exactOptional(z.string()), limit: z.int().min(1).max(1_000) }), (bus, { queue, ...which }) => bus.browse(queue, which)),
  pause: operation(z.strictObject({ queue: Queue, workspace: z.exactOptional(z.string()) }), (bus, { queue, workspace }) => bus.pause(queue, workspace)),
  resume: operation(z.strictObject({ queue: Queue, workspace: z.exactOptional(z.string()) }), (bus, { queue, workspace }) => bus.resume(queue, workspace)),
  requeue: operation(z.strictObject({ queue: Queue, filter: Filter, after: z.exactOptional(z.string()) }), (bus, { queue, ...which }) => bus.requeue(queue, which)),
  purge: operation(z.strictObject({ queue: Queue, dead: z.boolean(), filter: Filter, after: z.exactOptional(z.string()) }), (bus, { queue, ...which }) => bus.purge(queue, which)),
  forget: operation(z.strictObject({ queue: Queue }), async (bus, { queue }) => {
    const [state] = await bus.inspect({ queue });
    if (state!.consumers > 0) throw new Fault('conflict', `Somebody consumes ${queue}.`, { reason: 'queue_in_use' });
    await bus.declare({ name: queue, topics: [], ordered: false, attempts: 1, backoff: { firstMs: 1, factor: 1, mostMs: 1, jitter: 0 }, delayMs: 0, personal: [] });
  }),
} as const satisfies Record<string, Operation<any>>;

export type BusOperation = keyof typeof OPERATIONS;

/** Faults: `not_found` (operation, queue), `invalid`, and those of the bus. Answers null where the bus answers nothing. */
export async function runBusOperation(bus: Bus, name: string, input: unknown): Promise<unknown> {
  if (!Object.hasOwn(OPERATIONS, name)) throw new Fault('not_found', `There is no operation ${name}.`, { reason: 'operation_not_found' });
  const { input: schema, run } = OPERATIONS[name as BusOperation] as Operation<unknown>;
  const parsed = schema.safeParse(input, { error: mustBe });
  if (!parsed.success) throw new Fault('invalid', parsed.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; '));
  return (await run(bus, parsed.data)) ?? null;
}
