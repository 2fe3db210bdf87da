import { Timeline } from '../../modules/portal/events/timeline.ts';
import { IngestBatchHandler } from '../../modules/portal/ingest/batch-handler.ts';
import { IngestProblems } from '../../modules/portal/ingest/ingest-problems.ts';
import type { Refused } from '../../modules/portal/ingest/job.ts';
import { ErasureHandler, erasePerson } from '../../modules/portal/people/erasure.ts';
import { IdentityHashes } from '../../modules/portal/people/identity-hashes.ts';
import { People, type PersonRecord } from '../../modules/portal/people/people.ts';
import { personByIdentity } from '../../modules/portal/people/people-rows.ts';
import { Recipients } from '../../modules/portal/people/recipients.ts';
import { UnsubscribedHandler } from '../../modules/portal/people/unsubscribed-handler.ts';
import { Call, newTrace } from '../../src/kernel/call.ts';
import { newId } from '../../src/kernel/ids.ts';
import type { Received } from '../../src/kernel/message.ts';
import { noMetrics, silentLog } from './context.ts';
import type { FakeClock } from './fake-clock.ts';
import { openPortalStore } from './portal-store.ts';

export const WORKSPACE = 'w1';

/** Portal's people and events over a real database, with the clock in the test's hand. */
export async function openPeople(clock: FakeClock) {
  const portal = await openPortalStore(clock);
  const { store } = portal;
  const hashes = new IdentityHashes({ publicUrl: 'http://127.0.0.1', secret: new Uint8Array(32).fill(7) });
  const problems = new IngestProblems(store, clock);
  const batches = new IngestBatchHandler(clock, silentLog, noMetrics, hashes, problems);
  const erasures = new ErasureHandler(hashes);
  const unsubscriptions = new UnsubscribedHandler(clock, hashes);
  const received = <P>(payload: P, workspace: string): Received<P> => ({ id: newId(), name: 'test', workspace, payload, time: clock.now(), trace: newTrace(), attempt: 1, last: false });
  const people = new People(store, clock, hashes);
  const call = (workspace = WORKSPACE, idempotencyKey?: string) =>
    new Call({ workspace, actor: { kind: 'api_key', id: 'k1' }, deadline: clock.now() + 10_000, ...(idempotencyKey === undefined ? {} : { idempotencyKey }) });
  return {
    ...portal,
    problems,
    people,
    recipients: new Recipients(store),
    timeline: new Timeline(store),
    call,
    /** Whom the sender's own id stands for. */
    async user(userId: string): Promise<PersonRecord> {
      const [named] = await store.run(personByIdentity, { workspace: WORKSPACE, kind: 'user', value: userId });
      return people.get(named!.id, call());
    },
    /** Handles a batch of wire items as the queue would, in a transaction of its own. */
    ingest(items: readonly object[], options: { workspace?: string; receivedAt?: number; refused?: Refused[] } = {}): Promise<void> {
      const { workspace = WORKSPACE, receivedAt = clock.now(), refused = [] } = options;
      const batch = JSON.parse(JSON.stringify({ batch: items })) as { batch: never[] };
      return store.transaction((tx) => batches.handle(received({ receivedAt, keyId: 'k1', type: null, batch, refused }, workspace), tx));
    },
    unsubscribe(personId: string, workspace = WORKSPACE): Promise<void> {
      return store.transaction((tx) => unsubscriptions.handle(received({ personId, channel: 'email', time: clock.now() }, workspace), tx));
    },
    /** Does the erasures that have been asked for since the last time, and those that they ask for. Answers how many. */
    async erase(): Promise<number> {
      let done = 0;
      for (;;) {
        const jobs = (await portal.published(erasePerson.name)) as { personId: string; erasedAt: number }[];
        const next = jobs[done];
        if (next === undefined) return done;
        await store.transaction((tx) => erasures.handle(received(next, WORKSPACE), tx));
        done++;
      }
    },
  };
}
export type PeopleBench = Awaited<ReturnType<typeof openPeople>>;
