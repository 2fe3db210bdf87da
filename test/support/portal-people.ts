import { Timeline } from '../../modules/portal/events/timeline.ts';
import { IngestBatchHandler } from '../../modules/portal/ingest/batch-handler.ts';
import { IngestProblems } from '../../modules/portal/ingest/ingest-problems.ts';
import type { Refused } from '../../modules/portal/ingest/job.ts';
import { ErasureHandler, erasePerson } from '../../modules/portal/people/erasure.ts';
import { IdentityHashes } from '../../modules/portal/people/identity-hashes.ts';
import { People, type PersonRecord } from '../../modules/portal/people/people.ts';
import { personByIdentity } from '../../modules/portal/people/people-rows.ts';
import { Recipients } from '../../modules/portal/people/recipients.ts';
import { LiveSegments } from '../../modules/portal/segments/live-segments.ts';
import { Segments } from '../../modules/portal/segments/segments.ts';
import { settleSegment, SettleSegmentHandler } from '../../modules/portal/segments/settle-handler.ts';
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
  const live = new LiveSegments();
  const batches = new IngestBatchHandler(clock, silentLog, noMetrics, hashes, live, problems);
  const erasures = new ErasureHandler(hashes);
  const unsubscriptions = new UnsubscribedHandler(clock, hashes, live);
  const settling = new SettleSegmentHandler(live);
  const received = <P>(payload: P, workspace: string): Received<P> => ({ id: newId(), name: 'test', workspace, payload, time: clock.now(), trace: newTrace(), attempt: 1, last: false });
  const people = new People(store, clock, hashes, live);
  let settled = 0;
  const call = (workspace = WORKSPACE, idempotencyKey?: string) =>
    new Call({ workspace, actor: { kind: 'api_key', id: 'k1' }, deadline: clock.now() + 10_000, ...(idempotencyKey === undefined ? {} : { idempotencyKey }) });
  return {
    ...portal,
    problems,
    people,
    recipients: new Recipients(store),
    segments: new Segments(store, clock, live),
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
    /** Does the next piece of what is to be found out about segments, if there is any. Answers whether there was. */
    async settle(): Promise<boolean> {
      const jobs = (await portal.published(settleSegment.name)) as { segmentId: string; conditionId: string }[];
      const next = jobs[settled];
      if (next === undefined) return false;
      await store.transaction((tx) => settling.handle(received(next, WORKSPACE), tx));
      settled++;
      return true;
    },
  };
}
export type PeopleBench = Awaited<ReturnType<typeof openPeople>>;
