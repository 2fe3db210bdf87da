import { resolve } from 'node:path';
import { z } from 'zod';
import type { Driver } from '../../../src/kernel/driver.ts';
import { DEFAULT_BACKOFF } from '../../../src/kernel/message.ts';
import type { Bus, BusWire, QueueSettings } from '../../../src/ports/bus.ts';
import type { BusSharing } from '../../../src/ports/bus-sharing.ts';
import type { Storage } from '../../../src/ports/storage.ts';
import { MOST_VALUE_BYTES } from '../../../src/ports/transport.ts';
import { ActiveMqBus } from './activemq-bus.ts';
import type { Engine } from './engine.ts';
import { Addresses, ANSWER_HEADERS, REFUSED_HEADERS, SENT_HEADERS, WORK_HEADERS } from './worker-wire.ts';
import { workerQueueName } from './workers.ts';

/** A payload goes to the process that keeps the messages as a text within JSON, where each character may take two; around it go the other fields. */
const MOST_CROSSING_BYTES = MOST_VALUE_BYTES / 2 - 64 * 1024;

const Backoff = z.strictObject({
  firstMs: z.number().min(0).max(31_622_400_000).default(DEFAULT_BACKOFF.firstMs),
  factor: z.number().min(1).max(1_000).default(DEFAULT_BACKOFF.factor),
  mostMs: z.number().min(0).max(31_622_400_000).default(DEFAULT_BACKOFF.mostMs),
  jitter: z.number().min(0).max(1).default(DEFAULT_BACKOFF.jitter),
});

/** A queue, `worker.<name>`, that is handed out to programs of other languages (docs/workers.md). */
const WorkerQueue = z.strictObject({
  /** Events that arrive in it. Without any it has what programs send to it. */
  events: z.array(z.string().min(1).max(255)).max(1_000).default([]),
  /** Messages that are out at once, over all workers. When it takes back what nobody has, the broker looks at 200 of a queue. */
  concurrency: z.int().min(1).max(200).default(10),
  /** Messages with the same key are handed out one at a time, in order. */
  ordered: z.boolean().default(false),
  /** Tries before the error queue, the first included. */
  attempts: z.int().min(1).max(10_000).default(12),
  backoff: Backoff.prefault({}),
  /** A worker that has not answered for so long has failed: a try is used, and the message is handed out again. */
  answerWithinMs: z.int().min(1_000).max(86_400_000).default(300_000),
});

export const ActiveMqSettings = z.strictObject({
  host: z.string().min(1).max(253).default('127.0.0.1'),
  /** Of the broker's STOMP connector. */
  port: z.int().min(1).max(65_535).default(61_613),
  /** Left out where the broker asks for none. */
  username: z.string().min(1).max(200).optional(),
  password: z.string().min(1).max(1_000).optional(),
  /** A file that holds the password, read at each connect; a relative one counts from the data directory. */
  passwordFile: z.string().min(1).optional(),
  /** Encrypts the connection and refuses a broker whose certificate does not prove its name. Without it messages and password cross in the clear. */
  tls: z.boolean().default(false),
  /** PEM of the authority that signed the broker's certificate; left out: those that Node trusts. */
  ca: z.string().min(1).optional(),
  /** PEM of this host's certificate and its key, for a broker that asks for one. */
  cert: z.string().min(1).optional(),
  key: z.string().min(1).optional(),
  /** The name that the broker's certificate must have, where that is not `host`. */
  servername: z.string().min(1).max(253).optional(),
  /** Before the name of every destination, so that several deployments may use one broker. */
  prefix: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/, 'must be letters, digits, hyphens and underscores, 64 at most').default('multilith'),
  /** The most that opening a connection may take, the broker's answer to the handshake included. */
  connectTimeoutMs: z.int().min(50).max(60_000).default(5_000),
  /** The most that the broker may take to confirm what it was sent; then the connection is given up. */
  answerTimeoutMs: z.int().min(50).max(600_000).default(10_000),
  /** A connection on which nothing came for about so long is given up. */
  heartbeatMs: z.int().min(1_000).max(600_000).default(10_000),
  /** Bytes of one message's payload as UTF-8; a larger one is refused with `invalid`. */
  maxMessageBytes: z.int().min(1_024).max(MOST_CROSSING_BYTES).default(1_048_576),
  /** Messages in all queues and states together; beyond it publishing is refused with `exhausted` until some are handled. */
  maxBacklog: z.int().min(1).max(1_000_000_000).default(10_000_000),
  /** Publishing is refused with `exhausted` while the disk of the data directory has fewer bytes free; 0 leaves it to the disk. */
  minFreeBytes: z.int().min(0).default(134_217_728),
  /** Queues for programs of other languages, by name. */
  workers: z.record(z.string().regex(/^[a-z][a-z0-9-]{0,63}$/, 'must be lower-case letters, digits and hyphens, 64 at most, and begin with a letter'), WorkerQueue).default({}),
});
export type ActiveMqSettings = z.infer<typeof ActiveMqSettings>;

/** As it is declared, but for what is personal in the events: the driver does not know them. */
type WorkerQueueSettings = Omit<QueueSettings, 'personal'>;

/** What programs of other languages need to know. */
interface ForPrograms {
  workers(settings: ActiveMqSettings): Readonly<Record<string, WorkerQueueSettings>>;
  wire(settings: ActiveMqSettings): BusWire;
}

/** The bus on an ActiveMQ Classic broker, over STOMP, shared by all processes that name it; `engine` keeps the index of its messages. */
export function activemq(engine: Engine): Driver<ActiveMqSettings, Bus, { readonly openStorage: (name: string) => Storage; readonly sharing: BusSharing }> & ForPrograms {
  return {
    name: 'activemq',
    settings: ActiveMqSettings,
    workers: ({ workers }) => Object.fromEntries(Object.entries(workers).map(([name, { events, ordered, attempts, backoff }]) => [name, { name: workerQueueName(name), topics: events, ordered, attempts, backoff, delayMs: 0 }])),
    wire: ({ host, port, prefix }) => {
      const addresses = new Addresses(prefix);
      return {
        protocol: 'stomp',
        host: `${host}:${port}`,
        queue: (name) => `${addresses.jobs}${name}`,
        topic: (name) => `${addresses.events}${name}`,
        headers: SENT_HEADERS,
        work: {
          address: (queue) => addresses.work(queue),
          headers: WORK_HEADERS,
          answers: { address: addresses.done, headers: ANSWER_HEADERS },
          refused: { address: addresses.refused, headers: REFUSED_HEADERS },
        },
      };
    },
    create: (settings, { log, ...context }) => new ActiveMqBus({ settings: withAbsoluteFile(settings, context.dataDir), engine, ...context, log: log.child({ bus: 'activemq' }) }),
  };
}

function withAbsoluteFile({ passwordFile, ...settings }: ActiveMqSettings, dataDir: string): ActiveMqSettings {
  return passwordFile === undefined ? settings : { ...settings, passwordFile: resolve(dataDir, passwordFile) };
}
