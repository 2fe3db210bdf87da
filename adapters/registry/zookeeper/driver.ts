import { z } from 'zod';
import type { Driver } from '../../../src/kernel/driver.ts';
import type { Registry, RegistryNeeds } from '../../../src/ports/registry.ts';
import { ZooKeeperRegistry } from './zookeeper-registry.ts';

/** `name:port`, `1.2.3.4:port` or `[::1]:port`. */
const Server = z
  .string()
  .regex(/^(?:\[[0-9a-fA-F:.]{2,45}\]|[A-Za-z0-9._-]{1,253}):[1-9]\d{0,4}$/, 'must be host:port, e.g. zk1.internal:2181')
  .refine((text) => Number(text.slice(text.lastIndexOf(':') + 1)) <= 65_535, 'has a port above 65535');

export const ZooKeeperSettings = z
  .strictObject({
    /** The servers of one ensemble, each as `host:port`; one is used at a time. */
    servers: z.array(Server).min(1).max(20),
    /** A process that is silent for so long has gone. ZooKeeper may change it to between 2 and 20 of its ticks. */
    sessionTimeoutMs: z.int().min(500).max(300_000).default(6_000),
    /** Where this deployment keeps its nodes; two deployments at one ensemble need two. */
    root: z
      .string()
      .regex(/^(?:\/[A-Za-z0-9][A-Za-z0-9._-]{0,99}){1,8}$/, 'must be a path such as /multilith or /agencies/north')
      .default('/multilith'),
    /** Everything is read again so often, whatever the watches say; loads of others are as old as that. */
    refreshMs: z.int().min(100).max(600_000).default(15_000),
    /** ZooKeeper's `digest` scheme; what is written is then open to nobody else. The network sees both in the clear. */
    username: z
      .string()
      .regex(/^[^:]{1,100}$/, 'must have no colon')
      .optional(),
    password: z.string().min(1).max(200).optional(),
  })
  .refine((settings) => (settings.username === undefined) === (settings.password === undefined), { error: 'username and password go together', path: ['password'] });
export type ZooKeeperSettings = z.infer<typeof ZooKeeperSettings>;

/** Who runs just now, and who leads, by a ZooKeeper ensemble. */
export const zookeeper: Driver<ZooKeeperSettings, Registry, RegistryNeeds> = {
  name: 'zookeeper',
  settings: ZooKeeperSettings,
  create: (settings, { clock, log, metrics, hosts }) => new ZooKeeperRegistry(settings, hosts, clock, log, metrics),
};
