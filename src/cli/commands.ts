import type { Command } from './command.ts';

export interface Listed {
  /** One line, for the list of all commands. */
  readonly summary: string;
  /** Loaded when asked for, so that the overview does not wait for the whole program. */
  load(): Promise<Command>;
}

export const commands: Readonly<Record<string, Listed>> = {
  start: { summary: 'Run a host until it is told to stop.', load: async () => (await import('./start.ts')).start },
  servers: { summary: 'Run the servers of this machine that the topology names: an ActiveMQ broker, ZooKeeper.', load: async () => (await import('./servers.ts')).servers },
  plan: { summary: 'Show what a topology comes to, and what is wrong with it, before anything starts.', load: async () => (await import('./plan.ts')).plan },
  doctor: { summary: 'Check whether this machine can run the topology, and say what to do where it cannot.', load: async () => (await import('./doctor.ts')).doctor },
  queues: { summary: 'Look into the queues and act on them, while the host runs or not.', load: async () => (await import('./queues.ts')).queues },
  bus: { summary: 'Take all messages to another bus while the host works.', load: async () => (await import('./bus.ts')).bus },
  backup: { summary: 'Write everything that is durable to one file, while the host works.', load: async () => (await import('./backup.ts')).backup },
  restore: { summary: 'Make an installation of a backup, with sending held.', load: async () => (await import('./restore.ts')).restore },
  sending: { summary: 'See whether sending is held and what would go out, and let it go.', load: async () => (await import('./sending.ts')).sending },
  storage: { summary: "Take the modules' data to other storages, compare both sides, or stay with the old ones.", load: async () => (await import('./storage.ts')).storage },
  export: { summary: 'Write all people or events of a workspace to a file.', load: async () => (await import('./export.ts')).exportCommand },
  contracts: { summary: 'Write down contracts and messages as JSON Schemas and AsyncAPI.', load: async () => (await import('./contracts.ts')).contracts },
  top: { summary: 'Watch the hosts live: modules, the calls between them, connections and queues.', load: async () => (await import('./top.ts')).top },
  demo: { summary: "Fill a workspace with an insurance agency's invented data, and keep events coming in.", load: async () => (await import('./demo.ts')).demo },
};
