import { newTrace } from '../../src/kernel/call.ts';
import { DEFAULT_BACKOFF, type Lane } from '../../src/kernel/message.ts';
import type { Bus } from '../../src/ports/bus.ts';
import { untilQueue } from './buses.ts';

export interface DeadLetter {
  readonly id: string;
  readonly workspace: string;
  readonly reason: string;
  readonly lane?: Lane;
}

/** A queue of no module, whose messages nobody takes, with these in its error queue; the field `email` is marked personal. */
export async function withDeadLetters(bus: Bus, queue: string, letters: readonly DeadLetter[]): Promise<void> {
  await bus.declare({ name: queue, topics: [], ordered: false, attempts: 1, backoff: DEFAULT_BACKOFF, delayMs: 0, personal: ['email'] });
  const reasons = new Map(letters.map(({ id, reason }) => [id, reason]));
  for (let at = 0; at < letters.length; at += 2_000) {
    await bus.publish(
      letters.slice(at, at + 2_000).map(({ id, workspace, lane = 'normal' }) => ({ id, name: 'suite.mail', to: { queue }, workspace, key: null, lane, time: Date.now(), trace: newTrace(), payload: JSON.stringify({ campaign: `c-${id}`, email: `${id}@customer.example` }) })),
    );
  }
  const consumer = await bus.consume(queue, { concurrency: 200 }, async ({ id }) => ({ kind: 'dead', reason: reasons.get(id)! }));
  await untilQueue(bus, queue, ({ dead }) => dead === letters.length);
  await consumer.stop(5_000);
}
