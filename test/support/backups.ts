import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { Backups } from '../../src/app/backup/backups.ts';
import { closedDatabases } from '../../src/app/backup/databases.ts';
import { OwnDesk } from '../../src/app/backup/own-desk.ts';
import { restore } from '../../src/app/backup/restore.ts';
import { type Config, requireConfig } from '../../src/app/config/config.ts';
import { probe } from '../../src/app/config/parts.ts';
import { prepareDataDir } from '../../src/app/host/data-dir.ts';
import { createBus } from '../../src/app/host/drivers.ts';
import { installationSecret } from '../../src/app/host/installation.ts';
import { parts } from '../../src/app/parts.ts';
import { RowSum } from '../../src/fabric/row-sum.ts';
import { fabricMigrations } from '../../src/fabric/tables.ts';
import { statement, type Storage } from '../../src/ports/storage.ts';
import { withDeadLetters } from './dead-letters.ts';

/** Of an installation. */
export const PEOPLE = 700;
const AWKWARD = 'naïve 🎉 \u{10ffff} "\n\\';
let made = 0;

/** Where installations and backups of a test file lie. */
export const root = mkdtempSync(join(tmpdir(), 'multilith-backup-'));
export const removeAll = () => rmSync(root, { recursive: true, force: true });

/** A topology of one process, in a file of its own. */
export function configFor(dataDir: string, storage?: object): Config {
  const topology = join(root, `${++made}.yaml`);
  writeFileSync(topology, JSON.stringify({ extends: 'default', data: dataDir, ...(storage && { storage: { default: storage } }) }));
  return requireConfig({ topology, env: {}, cwd: root }, parts).config;
}

/** The databases of an installation, open for the time of the work. */
export async function withDatabases<T>(config: Config, work: (databases: ReadonlyMap<string, Storage>) => Promise<T>, of = parts): Promise<T> {
  const databases = new Map([...(await closedDatabases(config, of))].map(([name, { open }]) => [name, open()]));
  try {
    for (const storage of databases.values()) await storage.start();
    return await work(databases);
  } finally {
    for (const storage of databases.values()) await storage.stop(5_000);
  }
}

/** An installation with people, a message in an outbox, dead letters on the bus and a kept mail. */
export async function installation(config: Config, of = parts): Promise<void> {
  const { dataDir } = config;
  prepareDataDir(dataDir);
  await withDatabases(config, async (databases) => {
    installationSecret(dataDir);
    for (const { name, migrations } of of.modules) await databases.get(name)!.migrate([...fabricMigrations, ...migrations]);
    const portal = databases.get('portal')! as Storage<any>;
    await portal.transaction(async (tx) => {
      await tx.db.insertInto('workspaces').values({ id: 'w', name: AWKWARD, created_at: 1 }).execute();
      await tx.db.insertInto('users').values({ id: 'u', email: 'a@example.com', email_key: 'a@example.com', password_hash: 'x', created_at: 1, operator: 1 }).execute();
      await tx.db.insertInto('memberships').values({ workspace_id: 'w', user_id: 'u', role: 'owner', created_at: 2 ** 53 - 1 }).execute();
      for (let n = 0; n < PEOPLE; n++) await tx.db.insertInto('identities').values({ workspace_id: 'w', kind: 'user', value: `u${n} ${AWKWARD}`, person_id: `p${n}` }).execute();
      for (const id of ['first', 'second']) await tx.db.insertInto('fabric_outbox').values({ id, kind: 'event', name: 'n', workspace: null, message_key: null, lane: 'bulk', time: 1, trace_id: 't', span_id: 's', not_before: null, payload: '{}' }).execute();
    }, { timeoutMs: 60_000 });
    await (databases.get('email-outbox')! as Storage<any>).transaction((tx) => tx.db.insertInto('mails').values({ id: 'm', workspace: 'w', delivery_id: 'd', stored_at: 1, bytes: 3, raw: new Uint8Array([0, 128, 255]) }).execute());
  });
  const bus = createBus(config.bus, parts, probe(dataDir));
  await bus.start();
  await withDeadLetters(bus, 'suite.dead', [{ id: 'm1', workspace: 'w', reason: 'mailbox full' }]);
  await bus.stop(5_000);
}

export async function backUp(config: Config, file: string): Promise<string> {
  const ended = await withDatabases(config, (databases) => {
    const backups = new Backups({ ...probe(config.dataDir), participants: () => [{ name: 'this', desk: new OwnDesk({ databases }) }], expected: [...databases.keys()] });
    backups.begin(file);
    return backups.ended();
  });
  assert.equal(ended.state, 'done', ended.problem!);
  return ended.file;
}

export const restoreTo = (config: Config, file: string) => restore({ file, config, parts, now: new Date(), onTable: () => {} });

/** Its lines without the first, which says when it was made. */
export function contentsOf(file: string): string[] {
  const lines = gunzipSync(readFileSync(file)).toString('utf8').trimEnd().split('\n').slice(1, -1);
  return lines.sort();
}

/** So much that writing and reading it takes a while: so many rows of some 2.7 KB that nothing makes smaller. */
export async function fill(config: Config, rows: number): Promise<void> {
  await withDatabases(config, async (databases) => {
    const problem = statement<any, { id: string; detail: string }>()((db, p) => db.insertInto('ingest_problems').values({ id: p('id'), workspace_id: 'w', time: 1, message_id: null, type: null, reason: 'r', detail: p('detail') }));
    await databases.get('portal')!.transaction(async (tx) => {
      for (let n = 0; n < rows; n++) await tx.run(problem, { id: `${n}`, detail: randomBytes(2_000).toString('base64') });
    }, { timeoutMs: 60_000 });
  });
}

/** The last of them is its end. */
export function linesOf(file: string): string[] {
  return gunzipSync(readFileSync(file)).toString('utf8').trimEnd().split('\n');
}

/** A file of these lines with an end that says that all is well, as a stranger would make it. */
export function sealed(file: string, lines: readonly string[]): void {
  const tables: { database: string; table: string; sum: RowSum }[] = [];
  for (const line of lines.slice(1)) {
    const value = JSON.parse(line) as { database: string; table: string } | unknown[];
    if (Array.isArray(value)) tables.at(-1)?.sum.add(line);
    else tables.push({ database: value.database, table: value.table, sum: new RowSum() });
  }
  const text = lines.map((line) => `${line}\n`).join('');
  const trailer = { complete: true, tables: tables.map(({ sum: { rows, hash }, ...of }) => ({ ...of, rows, hash })), sha256: createHash('sha256').update(text).digest('hex') };
  writeFileSync(file, gzipSync(`${text}${JSON.stringify(trailer)}\n`));
}
