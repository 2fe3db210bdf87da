import { queueName, queueSettings } from '../../fabric/envelope.ts';
import type { MessageDefinition } from '../../kernel/message.ts';
import type { ModuleDefinition } from '../../kernel/module.ts';
import type { QueueSettings } from '../../ports/bus.ts';

/** One message with everybody who has to do with it. */
export interface Flow {
  readonly message: MessageDefinition<any>;
  /** Modules, by name. */
  readonly publishers: readonly string[];
  /** One queue per subscriber of an event; the one queue of a job. */
  readonly queues: readonly { readonly module: string; readonly name: string; readonly settings: QueueSettings }[];
}

/** Every message of these modules, by name. */
export function flowsOf(modules: readonly ModuleDefinition[]): Flow[] {
  const messages = new Map<string, MessageDefinition<any>>();
  for (const { publishes, subscriptions } of modules) for (const message of [...publishes, ...subscriptions.map((each) => each.message)]) messages.set(message.name, message);
  return [...messages.values()].sort(byName).map((message) => ({
    message,
    publishers: modules.filter(({ publishes }) => publishes.some(({ name }) => name === message.name)).map(({ name }) => name).sort(),
    queues: modules
      .filter(({ subscriptions }) => subscriptions.some((each) => each.message.name === message.name))
      .map(({ name }) => ({ module: name, name: queueName(message, name), settings: queueSettings(message, name) }))
      .sort(byName),
  }));
}

export function byName(a: { readonly name: string }, b: { readonly name: string }): number {
  return a.name < b.name ? -1 : 1;
}
