import { sql, type CreateTableBuilder, type Generated, type Kysely } from 'kysely';
import type { Lane } from '../kernel/message.ts';
import type { Bit, Migration } from '../ports/storage.ts';

/** What the fabric keeps in each module's own database. */
export interface FabricTables {
  /** Messages of committed transactions on their way to the bus, in order of commit. */
  fabric_outbox: {
    seq: Generated<number>;
    id: string;
    kind: 'event' | 'job';
    name: string;
    workspace: string | null;
    message_key: string | null;
    lane: Lane;
    time: number;
    trace_id: string;
    span_id: string;
    not_before: number | null;
    payload: string;
  };
  /** Messages that the bus will not take as they are. They go back to the outbox at each start. */
  fabric_refused: {
    id: string;
    kind: 'event' | 'job';
    name: string;
    workspace: string | null;
    message_key: string | null;
    lane: Lane;
    time: number;
    trace_id: string;
    span_id: string;
    not_before: number | null;
    payload: string;
  };
  /** Messages whose effect is in this database. */
  fabric_inbox: { queue: string; id: string; time: number };
  /** Commands with an idempotency key whose effect is in this database. */
  fabric_calls: {
    operation: string;
    /** Whose key it is. */
    caller: string;
    key: string;
    request_hash: string;
    /** JSON: `{"value":…}` or `{"fault":…}`; null until the command has answered. */
    answer: string | null;
    time: number;
  };
  /** What one process does at a time, of those that share the database. */
  fabric_leases: {
    name: string;
    held: Bit;
    /** Rises with each holder. */
    token: number;
    /** Rises while the holder is alive. */
    beat: number;
  };
}

export const fabricMigrations: readonly Migration[] = [
  {
    name: 'fabric-0001-outbox-and-inbox',
    async up(db: Kysely<any>) {
      await messageColumns(db.schema.createTable('fabric_outbox').addColumn('seq', 'integer', (c) => c.primaryKey().autoIncrement())).execute();
      await db.schema
        .createTable('fabric_inbox')
        .addColumn('queue', 'text', (c) => c.notNull())
        .addColumn('id', 'text', (c) => c.notNull())
        .addColumn('time', 'integer', (c) => c.notNull())
        .addPrimaryKeyConstraint('fabric_inbox_pk', ['queue', 'id'])
        .modifyEnd(sql`without rowid`)
        .execute();
      await db.schema.createIndex('fabric_inbox_time').on('fabric_inbox').column('time').execute();
    },
  },
  {
    name: 'fabric-0002-refused',
    // Some databases got the table with 0001.
    up: (db: Kysely<any>) => messageColumns(db.schema.createTable('fabric_refused').ifNotExists()).execute(),
  },
  {
    name: 'fabric-0003-calls',
    async up(db: Kysely<any>) {
      await db.schema
        .createTable('fabric_calls')
        .addColumn('operation', 'text', (c) => c.notNull())
        .addColumn('caller', 'text', (c) => c.notNull())
        .addColumn('key', 'text', (c) => c.notNull())
        .addColumn('request_hash', 'text', (c) => c.notNull())
        .addColumn('answer', 'text')
        .addColumn('time', 'integer', (c) => c.notNull())
        .addPrimaryKeyConstraint('fabric_calls_pk', ['operation', 'caller', 'key'])
        .modifyEnd(sql`without rowid`)
        .execute();
      await db.schema.createIndex('fabric_calls_time').on('fabric_calls').column('time').execute();
    },
  },
  {
    name: 'fabric-0004-leases',
    async up(db: Kysely<any>) {
      await db.schema
        .createTable('fabric_leases')
        .addColumn('name', 'text', (c) => c.primaryKey())
        .addColumn('held', 'integer', (c) => c.notNull())
        .addColumn('token', 'integer', (c) => c.notNull())
        .addColumn('beat', 'integer', (c) => c.notNull())
        .execute();
    },
  },
];

function messageColumns<T extends string>(table: CreateTableBuilder<T, string>): CreateTableBuilder<T, string> {
  return table
    .addColumn('id', 'text', (c) => c.notNull())
    .addColumn('kind', 'text', (c) => c.notNull())
    .addColumn('name', 'text', (c) => c.notNull())
    .addColumn('workspace', 'text')
    .addColumn('message_key', 'text')
    .addColumn('lane', 'text', (c) => c.notNull())
    .addColumn('time', 'integer', (c) => c.notNull())
    .addColumn('trace_id', 'text', (c) => c.notNull())
    .addColumn('span_id', 'text', (c) => c.notNull())
    .addColumn('not_before', 'integer')
    .addColumn('payload', 'text', (c) => c.notNull());
}
