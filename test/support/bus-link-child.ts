import type { PeerAddress } from '../../src/ports/transport.ts';
import { testContext } from './context.ts';
import { remoteBusAt, type TransportName } from './linked-bus.ts';

/** What a child is told: one JSON object as its first argument. */
export interface LinkChildPlan {
  readonly at: PeerAddress['at'];
  readonly transport: TransportName;
  readonly concurrency: number;
  /** How long each message takes. */
  readonly handleMs: number;
}

/*
 * A process that consumes the queue `q` of another one until it is killed, or until a message named `suite.poison`
 * comes, which ends it on the spot. Tells its parent `begin` and `end` of every message.
 */
const { at, transport, concurrency, handleMs } = JSON.parse(process.argv[2]!) as LinkChildPlan;
const context = testContext();
context.remove();
const bus = remoteBusAt(at, context, transport);
setInterval(() => {}, 60_000);
await bus.start();
await bus.consume('q', { concurrency }, async ({ id, name, attempt }) => {
  process.send!({ kind: 'begin', id, attempt });
  if (name === 'suite.poison') process.kill(process.pid, 'SIGKILL');
  await new Promise((resolve) => setTimeout(resolve, handleMs));
  process.send!({ kind: 'end', id, attempt });
  return { kind: 'done' };
});
process.on('disconnect', () => process.exit());
