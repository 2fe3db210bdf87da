import { AsyncLocalStorage } from 'node:async_hooks';
import { createHash } from 'node:crypto';
import type { Call } from '../kernel/call.ts';
import type { Clock } from '../kernel/clock.ts';
import type { Contract, Descriptor } from '../kernel/contract.ts';
import { Fault, type FaultRecord, toFault } from '../kernel/fault.ts';
import { canonicalJson } from '../kernel/json-schema.ts';
import { type Storage, type StorageTransaction, statement } from '../ports/storage.ts';
import type { Alongside } from './outbox.ts';
import type { FabricTables } from './tables.ts';
import type { Implementation } from './target.ts';

type Row = FabricTables['fabric_calls'];
type Name = Pick<Row, 'operation' | 'caller' | 'key'>;

const find = statement<FabricTables, Name>()((db, p) =>
  db.selectFrom('fabric_calls').select(['request_hash', 'answer']).where('operation', '=', p('operation')).where('caller', '=', p('caller')).where('key', '=', p('key')),
);
const note = statement<FabricTables, Row>()((db, p) =>
  db
    .insertInto('fabric_calls')
    .values({ operation: p('operation'), caller: p('caller'), key: p('key'), request_hash: p('request_hash'), answer: p('answer'), time: p('time') })
    .onConflict((c) => c.doNothing())
    .returning('key'),
);
const answer = statement<FabricTables, Name & { answer: string }>()((db, p) =>
  db.updateTable('fabric_calls').set({ answer: p('answer') }).where('operation', '=', p('operation')).where('caller', '=', p('caller')).where('key', '=', p('key')),
);

/** One command under way: its name is written in the first transaction that it commits. */
interface UnderWay {
  readonly owner: Once;
  readonly name: Name;
  readonly requestHash: string;
  isNoted: boolean;
  /** Transactions that have written the name and are not over. */
  noting: number;
  /** It has answered; what it set off and did not wait for is work of its own. */
  isOver: boolean;
}

const underWay = new AsyncLocalStorage<UnderWay>();

/**
 * Gives a module's commands one effect and one answer per idempotency key, however often the call arrives: through the
 * same process or another, before or after a crash. The key is written in the same transaction as the effect, the
 * first that the command commits. A command without a key is not touched. Keys belong to whoever calls, within the
 * workspace and the operation, and are remembered for as long as the inbox remembers messages.
 *
 * A repeat answers what the first one answered; `conflict`/`repeated` when it had its effect and the answer was lost
 * with the process; `invalid` when the key was used for another request.
 */
export class Once {
  readonly #storage: Storage<FabricTables>;
  readonly #clock: Clock;
  readonly #running = new Map<string, { readonly requestHash: string; readonly answer: Promise<unknown> }>();

  constructor(storage: Storage<FabricTables>, clock: Clock) {
    this.#storage = storage;
    this.#clock = clock;
  }

  /** The implementation with its commands guarded. */
  guard(contract: Contract<any>, implementation: object): Implementation {
    const methods = implementation as Implementation;
    return Object.fromEntries(
      Object.entries<Descriptor>(contract.operations).map(([method, { kind }]) => {
        const run = methods[method]!.bind(implementation);
        return [method, kind === 'query' ? run : (request: unknown, call: Call) => (call.idempotencyKey === undefined ? run(request, call) : this.#once(`${contract.name}.${method}`, request, call, run))];
      }),
    );
  }

  /** For the module's own store: what its next transaction has to write beside its own. */
  readonly alongside = (): Alongside | undefined => {
    const scope = underWay.getStore();
    if (scope === undefined || scope.owner !== this || scope.isNoted || scope.isOver) return undefined;
    let hasNoted = false;
    return {
      write: async (tx) => {
        await this.#note(tx, scope, null);
        scope.noting++;
        hasNoted = true;
      },
      ended: (committed) => {
        if (hasNoted) scope.noting--;
        if (committed) scope.isNoted = true;
      },
    };
  };

  #once(operation: string, request: unknown, call: Call, run: (request: unknown, call: Call) => Promise<unknown>): Promise<unknown> {
    const name: Name = { operation, caller: JSON.stringify([call.workspace, call.actor.kind, call.actor.id]), key: call.idempotencyKey! };
    const requestHash = createHash('sha256').update(canonicalJson(request)).digest('base64url');
    const id = JSON.stringify(name);
    const running = this.#running.get(id);
    if (running !== undefined) {
      if (running.requestHash !== requestHash) return Promise.reject(keyUsed(name.key));
      // That the first caller let go, or its connection broke, is no answer to the one who asks again.
      return running.answer.catch((thrown: unknown) => (isOfTheCall(thrown) && !call.cancelSignal?.aborted && call.leftMs(this.#clock.now()) > 0 ? this.#once(operation, request, call, run) : Promise.reject(thrown as Error)));
    }
    const answering = this.#first(name, requestHash, () => run(request, call)).finally(() => this.#running.delete(id));
    this.#running.set(id, { requestHash, answer: answering });
    return answering;
  }

  async #first(name: Name, requestHash: string, run: () => Promise<unknown>): Promise<unknown> {
    const [before] = await this.#storage.run(find, name);
    if (before !== undefined) return answerOf(before, requestHash, name.key);
    const scope: UnderWay = { owner: this, name, requestHash, isNoted: false, noting: 0, isOver: false };
    let value: unknown;
    try {
      value = await underWay.run(scope, run);
    } catch (thrown) {
      if (scope.isNoted && !isOfTheCall(thrown)) await this.#keep(scope, { fault: toFault(thrown).toRecord() });
      throw thrown;
    } finally {
      scope.isOver = true;
    }
    if (scope.isNoted) await this.#keep(scope, { value });
    else await this.#storage.transaction((tx) => this.#note(tx, scope, JSON.stringify({ value })));
    return value;
  }

  /** The command has had its effect: when its answer cannot be kept, only repeats go without. */
  async #keep({ name }: UnderWay, kept: object): Promise<void> {
    await this.#storage.transaction((tx) => tx.run(answer, { ...name, answer: JSON.stringify(kept) })).catch(() => {});
  }

  async #note(tx: StorageTransaction<any>, { name, requestHash, isNoted, noting }: UnderWay, text: string | null): Promise<void> {
    const noted = await tx.run(note, { ...name, request_hash: requestHash, answer: text, time: this.#clock.now() });
    // Another process was quicker between our look and this; unless it was another transaction of the same command.
    if (noted.length === 0 && !isNoted && noting === 0) throw repeated();
  }
}

/** Tells of one call's end, not of what the command does. */
function isOfTheCall(thrown: unknown): boolean {
  return Fault.is(thrown) && (thrown.code === 'cancelled' || thrown.code === 'deadline');
}

function answerOf(row: Pick<Row, 'request_hash' | 'answer'>, requestHash: string, key: string): unknown {
  if (row.request_hash !== requestHash) throw keyUsed(key);
  if (row.answer === null) throw repeated();
  const kept = JSON.parse(row.answer) as { value: unknown } | { fault: FaultRecord };
  if ('fault' in kept) throw Fault.fromRecord(kept.fault);
  return kept.value;
}

function keyUsed(key: string): Fault {
  return new Fault('invalid', `The idempotency key ${JSON.stringify(key)} was used for another request. Use a new one.`, { reason: 'idempotency_key_reused' });
}

function repeated(): Fault {
  return new Fault('conflict', 'This command has had its effect; its answer was lost. Look at the present state instead of repeating it.', { reason: 'repeated' });
}
