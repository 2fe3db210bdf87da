import { queueName } from '../fabric/envelope.ts';
import type { ModuleDefinition } from '../kernel/module.ts';
import type { Log } from '../kernel/telemetry.ts';
import type { Bus } from '../ports/bus.ts';

/** The queues that these modules consume. */
export function queuesOf(modules: readonly ModuleDefinition[]): string[] {
  return modules.flatMap(({ name, subscriptions }) => subscriptions.map(({ message }) => queueName(message, name)));
}

/**
 * Says which queues hold messages that nobody here or elsewhere will take: an older build had a use for them. They are
 * filled on, since a newer one on another host may have a use for them, too. A bus that does not answer says so itself.
 */
export async function tellUnclaimed(bus: Pick<Bus, 'inspect'>, claimed: ReadonlySet<string>, log: Log): Promise<void> {
  const queues = (await bus.inspect().catch(() => [])).filter(({ name, ready, waiting, dead, consumers }) => !claimed.has(name) && consumers === 0 && waiting + dead + ready.urgent + ready.normal + ready.bulk > 0);
  if (queues.length === 0) return;
  log.warn({ queues: queues.map(({ name }) => name) }, 'no module has a use for what waits in these queues; "multilith queues forget" deletes it, and they get no more');
}
