import { sql } from 'kysely';
import type { Migration } from '../../../src/ports/storage.ts';

/*
 * Where a message stands. A message is one row from its publishing to its end; `state` moves it between the parts of
 * the index `message_place`, so that the payload is never copied.
 *
 *   publish ──► READY ──(handler)──► deleted when done
 *                 │ ▲                  │ dead, or the last try failed
 *   delayed       │ │ its key is free  └──────────────► DEAD ──(requeue)──► READY
 *     │           ▼ │
 *     │         BLOCKED   behind another message of its key; found out when its turn comes, not when it is published
 *     ▼
 *   WAITING ──(due)──► READY      delayed, or between two tries
 *
 * A message under way is READY in the file. That it is under way stands in its queue's row (`in_flight`), so that
 * taking a hundred messages costs one row, and what is found there at the next start was cut short.
 */
export const READY = 0;
export const BLOCKED = 1;
export const WAITING = 2;
export const DEAD = 3;

/** Workspace 0 stands for messages that have none. */
export const NO_WORKSPACE = 0;

/** With the number of their rows, which only grows. */
export const tables = [
  { name: 'queue', keyedBy: 'id' },
  { name: 'workspace', keyedBy: 'id' },
  { name: 'paused_workspace', keyedBy: 'queue' },
  { name: 'message', keyedBy: 'seq' },
] as const;

export const migrations: readonly Migration[] = [
  {
    name: '0001-messages',
    async up(db) {
      await sql`
        create table queue (
          id integer primary key,
          name text not null unique,
          settings text not null,
          paused integer not null default 0,
          urgent integer not null default 0,
          normal integer not null default 0,
          bulk integer not null default 0,
          blocked integer not null default 0,
          waiting integer not null default 0,
          dead integer not null default 0,
          in_flight text not null default '[]',
          last_published integer,
          last_taken integer
        ) strict`.execute(db);
      await sql`create table workspace (id integer primary key, name text not null unique) strict`.execute(db);
      await sql`create table paused_workspace (queue integer not null, workspace integer not null, primary key (queue, workspace)) strict, without rowid`.execute(db);
      // A table with a row id and small indexes: clustered by place it took three times as long, since a row of 1 KB
      // does not fit into an index page.
      await sql`
        create table message (
          seq integer primary key,
          queue integer not null,
          state integer not null,
          lane integer not null,
          workspace integer not null,
          id text not null,
          name text not null,
          key text,
          time integer not null,
          due integer not null,
          trace text not null,
          attempts integer not null default 0,
          suspect integer not null default 0,
          reason text,
          payload text not null
        ) strict`.execute(db);
      await sql`create unique index message_id on message (queue, id)`.execute(db);
      await sql`create index message_place on message (queue, state, lane, workspace)`.execute(db);
      await sql`create index message_due on message (queue, due) where state = 2`.execute(db);
      await sql`create index message_key on message (queue, workspace, key) where key is not null and state < 3`.execute(db);
    },
  },
  {
    // JSON, null while nothing has gone wrong.
    name: '0002-history',
    async up(db) {
      await sql`alter table message add column history text`.execute(db);
    },
  },
];
