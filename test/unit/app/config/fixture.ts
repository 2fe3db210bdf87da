import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { z } from 'zod';
import { readConfig, type ReadConfig } from '../../../../src/app/config/config.ts';
import type { Catalog, Parts } from '../../../../src/app/config/parts.ts';
import { contract } from '../../../../src/kernel/contract.ts';
import type { SharedCache } from '../../../../src/ports/cache.ts';
import type { Registry } from '../../../../src/ports/registry.ts';
import { defineModule, type ModuleDefinition } from '../../../../src/kernel/module.ts';
import type { Storage } from '../../../../src/ports/storage.ts';

function moduleNamed(name: string, settings: z.ZodType, calls: ModuleDefinition['calls'] = []): ModuleDefinition {
  class Nothing {}
  return defineModule<object, any>({ name, contract: contract<object>(name, {}), implementation: Nothing, calls, migrations: [], subscriptions: [], publishes: [], settings, parts: [], lifecycles: [], replicable: name === 'notification' });
}

const one = <Port>(name: string, settings: z.ZodType, port: object): Catalog<Port> => ({ [name]: { name, settings, create: () => port as Port } });

/** Three modules and drivers that can do nothing but be configured. */
export const parts: Parts = {
  modules: [
    moduleNamed('portal', z.strictObject({ sessionDays: z.int().min(1).max(90).default(30) }), [contract<object>('trigger', {}), contract<object>('notification', {})]),
    moduleNamed('trigger', z.strictObject({})),
    moduleNamed('notification', z.strictObject({ from: z.string().default('a@b.example'), sender: z.strictObject({ name: z.string(), email: z.email() }).optional(), dkim: z.strictObject({ privateKey: z.string() }).optional() }), [contract<object>('portal', {})]),
  ],
  storage: {
    sqlite: {
      name: 'sqlite',
      settings: z.strictObject({ cacheKb: z.int().min(64).default(2_048), durability: z.enum(['power-loss', 'process-crash']).default('power-loss'), schema: z.string().optional() }),
      create: ({ schema }, { name }) => ({ capabilities: { shared: false, skipLocked: false }, contents: { place: `here, schema ${schema ?? name}` } }) as Storage,
    },
  },
  bus: one('embedded', z.strictObject({ maxBacklog: z.int().min(1).default(1_000) }), { capabilities: { spansHosts: false } }),
  channel: {
    ...one('outbox', z.strictObject({ keepDays: z.int().default(30) }), {}),
    ...one('smtp', z.strictObject({ host: z.string(), port: z.int().min(1).max(65_535).default(587), security: z.enum(['starttls', 'tls', 'none']).default('starttls'), username: z.string().optional(), password: z.string().optional() }), {}),
  },
  blob: one('fs', z.strictObject({}), {}),
  registry: { ...one<Registry>('static', z.strictObject({}), {}), ...one<Registry>('zookeeper', z.strictObject({ servers: z.array(z.string()) }), {}) },
  cache: { ...one<SharedCache>('memcached', z.strictObject({ timeoutMs: z.int().default(100) }), {}), ...one<SharedCache>('redis', z.strictObject({}), {}) },
};

const folders: string[] = [];
after(() => folders.forEach((folder) => rmSync(folder, { recursive: true, force: true })));

export interface Given {
  /** The topology's text, or files by name of which `main.yaml` is read. */
  readonly yaml?: string | Readonly<Record<string, string | Uint8Array>>;
  readonly env?: NodeJS.ProcessEnv;
  readonly sets?: readonly string[];
  readonly topology?: string;
}

export function folderWith(files: Readonly<Record<string, string | Uint8Array>>): string {
  const folder = mkdtempSync(join(tmpdir(), 'multilith-config-'));
  folders.push(folder);
  for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), content);
  return folder;
}

export function read({ yaml = '', env = {}, sets = [], topology = 'main.yaml' }: Given): ReadConfig & { folder: string } {
  const folder = folderWith(typeof yaml === 'string' ? { 'main.yaml': yaml } : yaml);
  return { folder, ...readConfig({ topology, sets, env, cwd: folder }, parts) };
}

/** Path and source of each problem. */
export function placesOf({ problems }: ReadConfig): string[] {
  return problems.map(({ path, source }) => `${path} @ ${source ?? ''}`);
}
