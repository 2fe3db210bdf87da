import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { sql } from 'kysely';
import { probe } from '../../src/app/config/parts.ts';
import { createStorage } from '../../src/app/host/drivers.ts';
import { readStorageMove } from '../../src/app/host/storage-move-file.ts';
import { parts } from '../../src/app/parts.ts';
import { fabricMigrations } from '../../src/fabric/tables.ts';
import { bareEnvironment } from '../support/bare-environment.ts';
import { isLong } from '../support/campaign.ts';
import { PostgresServer } from '../support/postgres.ts';
import { seeded } from '../support/seed.ts';

const MAIN = join(import.meta.dirname, '../../src/main.js');
const KILLS = isLong ? 60 : 3;
const EVENTS = isLong ? 200_000 : 30_000;

test('a move that is killed again and again ends with every row, and goes on where it was', { timeout: 900_000 }, async (t) => {
  const random = seeded((line) => t.diagnostic(line));
  const folder = mkdtempSync(join(tmpdir(), 'multilith-'));
  const postgres = await new PostgresServer().start();
  let child: ChildProcess | undefined;
  t.after(async () => {
    child?.kill('SIGKILL');
    await postgres.remove();
    rmSync(folder, { recursive: true, force: true });
  });
  const target = join(folder, 'target.yaml');
  writeFileSync(target, JSON.stringify({ extends: 'default', storage: { default: postgres.section } }));
  await fill(folder);

  let kills = 0;
  let copied = 0;
  for (;;) {
    child = spawn(process.execPath, [MAIN, 'storage', 'move', '--to', target, '--module', 'portal'], { env: { ...bareEnvironment(), MULTILITH_DATA: folder }, stdio: ['ignore', 'pipe', 'pipe'] });
    let said = '';
    for (const stream of [child.stdout!, child.stderr!]) stream.setEncoding('utf8').on('data', (text: string) => (said += text));
    const ended = once(child, 'close') as Promise<[number | null]>;
    if (kills < KILLS) {
      const enough = random.whole(EVENTS - copied) + copied;
      while (child.exitCode === null && (readStorageMove(folder, 'portal')?.state !== 'copying' || eventsIn(postgres) < enough)) await pause(1);
      if (child.kill('SIGKILL')) kills++;
    }
    const [code] = await ended;
    if (code === null) {
      copied = eventsIn(postgres);
      t.diagnostic(`killed with ${copied} of ${EVENTS} events there`);
      continue;
    }
    assert.equal(code, 0, said);
    assert.match(said, new RegExp(`same +events +${EVENTS} rows`));
    break;
  }
  assert.equal(Number(postgres.query('select count(distinct id) from portal.events')), EVENTS);
  assert.equal(kills, KILLS);
});

function eventsIn(postgres: PostgresServer): number {
  return Number(postgres.query('select count(*) from portal.events'));
}

async function fill(dataDir: string): Promise<void> {
  const storage = createStorage('portal', { driver: 'sqlite', settings: parts.storage.sqlite!.settings.parse({}) }, parts, probe(dataDir));
  await storage.start();
  await storage.migrate([...fabricMigrations, ...parts.modules.find(({ name }) => name === 'portal')!.migrations]);
  await storage.transaction((tx) =>
    sql`INSERT INTO events (id, workspace_id, person_id, type, name, properties_json, time, received_at)
      WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${EVENTS})
      SELECT printf('e%09d', i), 'w', 'p', 'track', 'Claim Opened', '{"n":1}', i, i FROM n`.execute(tx.db),
  { timeoutMs: 60_000 });
  await storage.stop(10_000);
}
