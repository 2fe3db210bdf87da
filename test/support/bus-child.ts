import { testContext } from './context.ts';
import { type BusDriverName, createBus, queueOf } from './buses.ts';

/** What a child is told: one JSON object as its first argument. */
export interface ChildPlan {
  readonly driver: BusDriverName;
  readonly dataDir: string;
  readonly attempts: number;
  readonly concurrency: number;
}

/*
 * A process that consumes the queue `q` until it is killed, or until a message named `suite.poison` comes, which ends
 * it on the spot. Tells its parent of every delivery before it works on it.
 */
const { driver, dataDir, attempts, concurrency } = JSON.parse(process.argv[2]!) as ChildPlan;
const bus = createBus(driver, testContext({ dataDir }));
await bus.start();
await bus.declare(queueOf('q', { attempts }));
await bus.consume('q', { concurrency }, async ({ id, name, attempt }) => {
  process.send!({ id, attempt });
  if (name === 'suite.poison') process.kill(process.pid, 'SIGKILL');
  await new Promise((resolve) => setTimeout(resolve, 20));
  return { kind: 'done' };
});
process.on('disconnect', () => process.exit());
