import { type RawBuilder, sql } from 'kysely';
import { type ParameterOf, type Statement, statement } from '../../../src/ports/storage.ts';

/*
 * The statements of the hot paths, each prepared once. They are SQLite's own (json_each, partial indexes, whose
 * conditions must stand in the text): the embedded bus is SQLite by its definition.
 * Lists of numbers travel as JSON text, so that one prepared statement serves every length. Indexes are named, since
 * SQLite, which has no statistics here, has chosen one that reads the whole queue.
 */
function prepared<Params, Row = never>(build: (parameter: ParameterOf<Params>) => RawBuilder<Row>): Statement<Params, Row> {
  return statement<unknown, Params>()((db, parameter) => ({ compile: () => build(parameter).compile(db) }));
}

export interface QueueRow {
  readonly id: number;
  readonly name: string;
  readonly settings: string;
  readonly paused: number;
  readonly urgent: number;
  readonly normal: number;
  readonly bulk: number;
  readonly blocked: number;
  readonly waiting: number;
  readonly dead: number;
  readonly in_flight: string;
  readonly last_published: number | null;
  readonly last_taken: number | null;
}

/** What a handler is given, and what deciding on it needs. */
export interface TakenRow {
  readonly seq: number;
  readonly id: string;
  readonly name: string;
  readonly key: string | null;
  readonly time: number;
  readonly due: number;
  readonly attempts: number;
  readonly suspect: number;
  readonly trace: string;
  readonly payload: string;
  /** The first message of the same key that is not dead; only on ordered queues. */
  readonly head?: number | null;
}

export interface Place {
  readonly seq: number;
  readonly lane: number;
  readonly workspace: number;
  readonly due: number;
}

export const INSERT_COLUMNS = 12;

/** `rows` messages at once; parameters by position, as an array. A second message of one id is passed over. */
function insertRows(rows: number): Statement<Record<string, unknown>, never> {
  return prepared((p) => {
    const row = (r: number) => sql`(${sql.join(Array.from({ length: INSERT_COLUMNS }, (_, c) => p(String(r * INSERT_COLUMNS + c))))})`;
    return sql`
      insert into message (seq, queue, state, lane, workspace, id, name, key, time, due, trace, payload)
      values ${sql.join(Array.from({ length: rows }, (_, r) => row(r)))} on conflict (queue, id) do nothing`;
  });
}
/** Sixteen rows a statement save the cost of entering it; more save nothing further. */
export const MANY = 16;
export const insertMany = insertRows(MANY);
export const insertOne = insertRows(1);

export const countBetween = prepared<{ first: number; last: number }, { n: number }>((p) => sql`
  select count(*) as n from message where seq between ${p('first')} and ${p('last')}`);
export const seqsBetween = prepared<{ first: number; last: number }, { seq: number }>((p) => sql`
  select seq from message where seq between ${p('first')} and ${p('last')}`);

export interface KeptParams {
  readonly seq: number;
  readonly queue: number;
  readonly state: number;
  readonly lane: number;
  readonly workspace: number;
  readonly id: string;
  readonly name: string;
  readonly key: string | null;
  readonly time: number;
  readonly due: number;
  readonly trace: string;
  readonly attempts: number;
  readonly suspect: number;
  readonly reason: string | null;
  readonly payload: string;
}
const KEPT = ['seq', 'queue', 'state', 'lane', 'workspace', 'id', 'name', 'key', 'time', 'due', 'trace', 'attempts', 'suspect', 'reason', 'payload'] as const;
const KEPT_COLUMNS = sql.join(KEPT.map((column) => sql.ref(column)));
/** A message of another bus, with what it has been through there. */
export const insertKept = prepared<KeptParams>((p) => sql`
  insert into message (${KEPT_COLUMNS}) values (${sql.join(KEPT.map((column) => p(column)))}) on conflict (queue, id) do nothing`);
/** Its history there, for such a message that has one. */
export const addHistory = prepared<{ seq: number; history: string }>((p) => sql`update message set history = ${p('history')} where seq = ${p('seq')}`);
export interface KeptRow extends KeptParams {
  readonly history: string | null;
}
export const keptOf = prepared<{ seqs: string }, KeptRow>((p) => sql`
  select ${KEPT_COLUMNS}, history from message where seq in (select value from json_each(${p('seqs')})) order by seq`);

export interface SizedRow {
  readonly seq: number;
  /** Of the payload and the history. */
  readonly bytes: number;
}
const BYTES = sql.raw('octet_length(payload) + coalesce(octet_length(history), 0) as bytes');
/** Of a short queue, the next in order: sorts all of them. */
export const nextOfShort = prepared<{ queue: number; after: number; limit: number }, SizedRow>((p) => sql`
  select seq, ${BYTES} from message where seq in (
    select seq from message indexed by message_place where queue = ${p('queue')} and seq > ${p('after')} order by seq limit ${p('limit')}
  ) order by seq`);
/** Of a long one: those among a stretch of the messages of all queues. */
export const nextAmong = prepared<{ queue: number; after: number; last: number; limit: number }, SizedRow>((p) => sql`
  select seq, ${BYTES} from message not indexed
  where seq > ${p('after')} and seq <= ${p('last')} and queue = ${p('queue')} order by seq limit ${p('limit')}`);
export const stretchBehind = prepared<{ after: number; limit: number }, { last: number | null; n: number }>((p) => sql`
  select max(seq) as last, count(*) as n from (select seq from message where seq > ${p('after')} order by seq limit ${p('limit')})`);

interface TakeParams {
  queue: number;
  lane: number;
  workspace: number;
  after: number;
  limit: number;
}
const TAKEN = sql.raw('m.seq, m.id, m.name, m.key, m.time, m.due, m.attempts, m.suspect, m.trace, m.payload');
const placeOf = (p: ParameterOf<TakeParams>) => sql`
  m.queue = ${p('queue')} and m.state = 0 and m.lane = ${p('lane')} and m.workspace = ${p('workspace')} and m.seq > ${p('after')}
  order by m.seq limit ${p('limit')}`;
export const take = prepared<TakeParams, TakenRow>((p) => sql`select ${TAKEN} from message m indexed by message_place where ${placeOf(p)}`);
export const takeOrdered = prepared<TakeParams, TakenRow>((p) => sql`
  select ${TAKEN}, case when m.key is null then null else (
    select min(k.seq) from message k indexed by message_key
    where k.queue = m.queue and k.workspace = m.workspace and k.key = m.key and k.key is not null and k.state < 3
  ) end as head
  from message m indexed by message_place where ${placeOf(p)}`);

export interface FollowingRow extends TakenRow {
  readonly state: number;
  readonly lane: number;
}
/** The messages of a key behind one of them, whatever they wait for. */
export const following = prepared<{ queue: number; workspace: number; key: string; after: number; limit: number }, FollowingRow>((p) => sql`
  select ${TAKEN}, m.state, m.lane from message m indexed by message_key
  where m.queue = ${p('queue')} and m.workspace = ${p('workspace')} and m.key = ${p('key')} and m.key is not null and m.state < 3 and m.seq > ${p('after')}
  order by m.seq limit ${p('limit')}`);

export const remove = prepared<{ seqs: string }>((p) => sql`delete from message where seq in (select value from json_each(${p('seqs')}))`);
export const moveTo = prepared<{ seqs: string; state: number }>((p) => sql`
  update message set state = ${p('state')} where seq in (select value from json_each(${p('seqs')}))`);
export const putBack = prepared<{ seq: number; state: number; due: number; attempts: number; suspect: number; reason: string | null }>((p) => sql`
  update message set state = ${p('state')}, due = ${p('due')}, attempts = ${p('attempts')}, suspect = ${p('suspect')}, reason = ${p('reason')}
  where seq = ${p('seq')}`);
/** The same without a new due time. */
export const endTry = prepared<{ seq: number; state: number; attempts: number; suspect: number; reason: string | null }>((p) => sql`
  update message set state = ${p('state')}, attempts = ${p('attempts')}, suspect = ${p('suspect')}, reason = ${p('reason')} where seq = ${p('seq')}`);
export const revive = prepared<{ seqs: string; due: number }>((p) => sql`
  update message set state = 0, due = ${p('due')}, attempts = 0, suspect = 0, reason = null
  where seq in (select value from json_each(${p('seqs')}))`);
/**
 * Into each one's history goes the reason that it has now, or null since it was put back: once more where that is also
 * how its history ends, else as a new part, of which the last ten are kept.
 */
export const remember = prepared<{ seqs: string; time: number }>((p) => {
  const time = sql`cast(${p('time')} as integer)`;
  return sql`
  update message set history = case
    when history is not null and json_extract(history, '$[#-1].reason') is reason
    then json_set(history, '$[#-1].last', ${time}, '$[#-1].times', json_extract(history, '$[#-1].times') + 1)
    else json_insert(
      case when history is null then '[]' when json_array_length(history) < 10 then history else json_remove(history, '$[0]') end,
      '$[#]', json_object('first', ${time}, 'last', ${time}, 'times', 1, 'reason', reason))
  end where seq in (select value from json_each(${p('seqs')}))`;
});

/** The first message of a key becomes ready when it was blocked; no row when it was not. */
export const unblockFirst = prepared<{ queue: number; workspace: number; key: string }, Place>((p) => sql`
  update message set state = 0 where state = 1 and seq = (
    select min(seq) from message indexed by message_key
    where queue = ${p('queue')} and workspace = ${p('workspace')} and key = ${p('key')} and key is not null and state < 3
  ) returning seq, lane, workspace, due`);
export const blockedOf = prepared<{ queue: number; limit: number }, Place>((p) => sql`
  select seq, lane, workspace, due from message indexed by message_place where queue = ${p('queue')} and state = 1 limit ${p('limit')}`);

export const dueOf = prepared<{ queue: number; now: number; limit: number }, Place>((p) => sql`
  select seq, lane, workspace, due from message indexed by message_due where queue = ${p('queue')} and state = 2 and due <= ${p('now')} order by due, seq limit ${p('limit')}`);
export const nextDueOf = prepared<{ queue: number }, { due: number | null }>((p) => sql`
  select min(due) as due from message indexed by message_due where queue = ${p('queue')} and state = 2`);

export const allQueues = prepared<object, QueueRow>(() => sql`select * from queue order by id`);
export const addQueue = prepared<{ name: string; settings: string }, { id: number }>((p) => sql`
  insert into queue (name, settings) values (${p('name')}, ${p('settings')}) returning id`);
export const changeQueue = prepared<{ id: number; settings: string }>((p) => sql`update queue set settings = ${p('settings')} where id = ${p('id')}`);
export const pauseQueue = prepared<{ id: number; paused: number }>((p) => sql`update queue set paused = ${p('paused')} where id = ${p('id')}`);
export const saveQueue = prepared<Omit<QueueRow, 'name' | 'settings' | 'paused'>>((p) => sql`
  update queue set urgent = ${p('urgent')}, normal = ${p('normal')}, bulk = ${p('bulk')}, blocked = ${p('blocked')}, waiting = ${p('waiting')},
    dead = ${p('dead')}, in_flight = ${p('in_flight')}, last_published = ${p('last_published')}, last_taken = ${p('last_taken')}
  where id = ${p('id')}`);

export const allWorkspaces = prepared<object, { id: number; name: string }>(() => sql`select id, name from workspace`);
export const addWorkspace = prepared<{ name: string }, { id: number }>((p) => sql`insert into workspace (name) values (${p('name')}) returning id`);
export const allPauses = prepared<object, { queue: number; workspace: number }>(() => sql`select queue, workspace from paused_workspace`);
export const addPause = prepared<{ queue: number; workspace: number }>((p) => sql`
  insert into paused_workspace (queue, workspace) values (${p('queue')}, ${p('workspace')}) on conflict do nothing`);
export const removePause = prepared<{ queue: number; workspace: number }>((p) => sql`
  delete from paused_workspace where queue = ${p('queue')} and workspace = ${p('workspace')}`);

export const lastSeq = prepared<object, { seq: number | null }>(() => sql`select max(seq) as seq from message`);
/** The first ready message of the next lane and workspace: one step over the index for each, whatever lies in between. */
export const nextStream = prepared<{ queue: number; lane: number; workspace: number }, Place>((p) => sql`
  select seq, lane, workspace, due from message indexed by message_place
  where queue = ${p('queue')} and state = 0 and (lane, workspace) > (${p('lane')}, ${p('workspace')})
  order by lane, workspace, seq limit 1`);
export const standing = prepared<{ seqs: string }, { seq: number; state: number; attempts: number; lane: number; workspace: number; key: string | null }>((p) => sql`
  select seq, state, attempts, lane, workspace, key from message where seq in (select value from json_each(${p('seqs')})) order by seq`);

/** One workspace's messages by state and lane, each counted up to `most`. */
export const countShare = prepared<{ queue: number; workspace: number; most: number }, { state: number; lane: number; n: number }>((p) => sql`
  select s.value as state, l.value as lane, (select count(*) from (
    select 1 from message m indexed by message_place
    where m.queue = ${p('queue')} and m.state = s.value and m.lane = l.value and m.workspace = ${p('workspace')} limit ${p('most')})) as n
  from json_each('[0,1,2,3]') s, json_each('[0,1,2]') l`);

export interface BrowsedRow extends Omit<KeptParams, 'queue' | 'trace' | 'suspect' | 'payload'> {
  /** Of the payload and the history. */
  readonly bytes: number;
}
const BROWSED = sql`${sql.raw('seq, state, lane, workspace, id, name, key, time, due, attempts, reason')}, ${BYTES}`;
interface BrowseParams {
  queue: number;
  state: number;
  lane: number;
  workspace: number;
  seq: number;
  limit: number;
}
/** The workspaces behind this one. With `seq` as a third column of the comparison SQLite would read this one anew. */
export const browseBehind = prepared<Omit<BrowseParams, 'seq'>, BrowsedRow>((p) => sql`
  select ${BROWSED} from message indexed by message_place
  where queue = ${p('queue')} and state = ${p('state')} and (lane, workspace) > (${p('lane')}, ${p('workspace')})
  order by lane, workspace, seq limit ${p('limit')}`);
export const browseWorkspace = prepared<BrowseParams, BrowsedRow>((p) => sql`
  select ${BROWSED} from message indexed by message_place
  where queue = ${p('queue')} and state = ${p('state')} and lane = ${p('lane')} and workspace = ${p('workspace')} and seq > ${p('seq')}
  order by seq limit ${p('limit')}`);
export const browseIds = prepared<{ queue: number; ids: string }, BrowsedRow>((p) => sql`
  select ${BROWSED} from message indexed by message_id where queue = ${p('queue')} and id in (select value from json_each(${p('ids')})) order by seq`);
export const textsOf = prepared<{ seqs: string }, { seq: number; payload: string; history: string | null }>((p) => sql`
  select seq, payload, history from message where seq in (select value from json_each(${p('seqs')}))`);
