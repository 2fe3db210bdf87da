import { z } from 'zod';
import { parseListen } from './listen.ts';

/** A driver by name, with its own settings beside it; those are checked by the driver's schema. */
const DriverSection = z.looseObject({ driver: z.string() });
const Name = z.string().regex(/^[a-z][a-z0-9-]{0,39}$/, 'must be lower case letters, digits and hyphens, 40 at most');
const Listen = z.string().refine((text) => parseListen(text) !== undefined, 'must be address:port, e.g. 127.0.0.1:8080 or [::]:8080');

const Http = z.strictObject({
  /** Where people, browsers and programs reach this host. Port 0 takes any that is free. */
  listen: Listen.default('127.0.0.1:8080'),
  /** Connections open at once; more are refused. */
  maxConnections: z.int().min(1).max(1_000_000).default(10_000),
  /** The most that a client may take to send the head of a request. */
  headersTimeoutMs: z.int().min(100).max(600_000).default(10_000),
  /** The most that a client may take to send a whole request. */
  requestTimeoutMs: z.int().min(100).max(3_600_000).default(60_000),
  /** How long a connection without a request stays open. */
  keepAliveTimeoutMs: z.int().min(0).max(600_000).default(65_000),
  /** While a request is under way, a connection on which nothing has moved for so long is cut. Live streams beat every 15 seconds. */
  stalledTimeoutMs: z.int().min(100).max(3_600_000).default(60_000),
});

/** One process. */
const Host = z.strictObject({
  modules: z.array(z.string()).min(1, 'must name at least one module'),
  /** Where this host takes calls of other hosts, over rpc and http alike. */
  listen: Listen.optional(),
  /** Where others reach its processes, one address for each. Left out: `listen`. */
  addresses: z.array(Listen).min(1).max(100).optional(),
  /** How many processes run it. */
  replicas: z.int().min(1).max(100).default(1),
});

const CallCache = z.strictObject({
  /** Answers kept in this process. */
  entries: z.int().min(1).max(5_000_000),
  /** A second tier that hosts have in common, by its name under `caches`. */
  shared: z.string().optional(),
});

/** How other modules reach one module. */
const CallRule = z.strictObject({
  /** Left out: inline within a host, rpc between hosts. */
  via: z.string().optional(),
  cache: CallCache.optional(),
});

/** How hosts make sure of each other. */
const Peers = z.strictObject({
  /** How long a host that starts waits for those that it calls before it goes on without them. */
  waitMs: z.int().min(0).max(600_000).default(10_000),
  /** Known to every host of the topology and to nobody else. Needed where hosts talk over anything but loopback. */
  secret: z.string().min(16, 'must have 16 characters or more, e.g. the output of "openssl rand -base64 32"').max(1_000).regex(/^(?! )[^\0-\x1f\x7f]*(?<! )$/, 'must be one line without blanks at its ends, as a header of http carries it').optional(),
  /** PEM texts, best by `fromFile`: this host's certificate and key, and the authority that signed those of all hosts. */
  tls: z.strictObject({ cert: z.string().min(1), key: z.string().min(1), ca: z.string().min(1) }).optional(),
});

/** Modules that are called via thread. */
const Threads = z.strictObject({
  /** The heap of each, in MB; a module that needs more is started again. Buffers and the database's cache come on top. */
  heapMb: z.int().min(64).max(65_536).default(512),
  /** A module that has done nothing but compute for so long is ended and started again. */
  silentMs: z.int().min(2_000).max(3_600_000).default(30_000),
});

const KeptDays = z.int().min(7, 'must be 7 or more, since repeats may arrive for so long; or null').max(36_500).nullable();

/** How long rows are kept, days; null: for good. */
const Retention = z.strictObject({
  /** Of the event log, by arrival. */
  eventsDays: KeptDays.default(null),
  /** Deliveries that have come to rest, by their last change. Their counts stay. */
  deliveriesDays: KeptDays.default(null),
  /** Who entered which automation when, by the event's time. A re-entry rule does not know what is gone. */
  entriesDays: KeptDays.default(null),
  auditDays: KeptDays.default(400),
  /** Ids of messages and commands that were handled: how late a repeat of one may come and still have no second effect. */
  inboxDays: z.int().min(1).max(365).default(7),
});

/**
 * The whole of a configuration but for what drivers and modules define themselves. An empty file is one process with
 * everything embedded.
 */
export const ConfigSchema = z.strictObject({
  /** The folder for durable files; a relative one counts from where the command is run. */
  data: z.string().min(1).default('./data'),
  /** The address that people reach this installation at; links in mails begin with it. Left out: that of `http.listen`. */
  publicUrl: z
    .url({ protocol: /^https?$/, error: 'must be an http or https URL, e.g. https://mail.agency.example' })
    // Links are made by adding to it.
    .refine((url) => !/[@?#\\]/.test(url), 'must have no user, query or fragment, e.g. https://mail.agency.example')
    .optional(),
  http: Http.prefault({}),
  hosts: z.record(Name, Host).default({ app: { modules: ['portal', 'trigger', 'notification'], replicas: 1 } }),
  calls: z.record(Name, CallRule).default({}),
  peers: Peers.prefault({}),
  /** Caches that hosts have in common, by the name that `calls` uses. */
  caches: z.record(Name, DriverSection).default({ memcached: { driver: 'memcached' }, redis: { driver: 'redis' } }),
  threads: Threads.prefault({}),
  registry: DriverSection.default({ driver: 'static' }),
  /** Databases by module; `default` is for those without a line of their own. */
  storage: z.record(Name, DriverSection).default({ default: { driver: 'sqlite' } }),
  /** `host`: which host of several keeps the messages, for a driver that lies within one. */
  bus: DriverSection.extend({ host: z.string().optional() }).default({ driver: 'embedded' }),
  /** `maxBytes`: of the messages that may wait for the bus in each module's database; beyond it new work is refused until the bus has taken some. */
  outbox: z.strictObject({ maxBytes: z.int().min(1_048_576).max(1_099_511_627_776).default(1_073_741_824) }).prefault({}),
  /** Ways out of the house by the name that automations use. */
  channels: z.record(Name, DriverSection).default({ email: { driver: 'outbox' } }),
  /** Where large files lie, such as exports. */
  blobs: DriverSection.default({ driver: 'fs' }),
  /** Each module's own settings. */
  modules: z.record(Name, z.record(z.string(), z.unknown())).default({}),
  retention: Retention.prefault({}),
  log: z.strictObject({ level: z.enum(['debug', 'info', 'warn', 'error']).default('info') }).prefault({}),
  /** How long a stop waits for what is under way. */
  shutdown: z.strictObject({ deadlineMs: z.int().min(0).max(600_000).default(20_000) }).prefault({}),
});
export type ConfigShape = z.infer<typeof ConfigSchema>;
