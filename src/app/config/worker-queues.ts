import type { MessageDefinition } from '../../kernel/message.ts';
import type { ModuleDefinition } from '../../kernel/module.ts';
import type { QueueSettings } from '../../ports/bus.ts';
import type { Chosen, Parts } from './parts.ts';

/** The events of these modules, by name. */
export function eventsOf(modules: readonly ModuleDefinition[]): ReadonlyMap<string, MessageDefinition<any>> {
  const messages = modules.flatMap(({ publishes, subscriptions }) => [...publishes, ...subscriptions.map(({ message }) => message)]);
  return new Map(messages.filter(({ kind }) => kind === 'event').map((message) => [message.name, message]));
}

/** Whether an event is one that programs of other languages publish to each other. */
export function isOfPrograms(event: string): boolean {
  return /^worker\.[a-z][a-z0-9-]*$/.test(event);
}

/** The queues for programs of other languages that the settings of the bus name. What is personal in their events is redacted there, too. */
export function workerQueues({ driver, settings }: Chosen, parts: Parts): QueueSettings[] {
  const events = eventsOf(parts.modules);
  return Object.values(parts.bus[driver]?.workers?.(settings) ?? {}).map((queue) => ({
    ...queue,
    personal: [...new Set(queue.topics.flatMap((topic) => events.get(topic)?.settings.personal ?? []))],
  }));
}
