import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { EpochMs } from '../../../src/kernel/clock.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { cachedPantry, callAt, itemOf, PantryCallee, SharedMap, TTL_MS } from '../../support/pantry.ts';

const HOSTS = 3;

/** What each host does; between rounds all is quiet and time passes. */
interface Round {
  readonly hosts: readonly (readonly ('read' | 'write' | 'miss events')[])[];
  readonly sharedIsAway: boolean;
  readonly thenMs: number;
}
const round: fc.Arbitrary<Round> = fc.record({
  hosts: fc.array(fc.array(fc.constantFrom('read', 'read', 'write', 'miss events'), { maxLength: 4 }), { minLength: HOSTS, maxLength: HOSTS }),
  sharedIsAway: fc.boolean(),
  thenMs: fc.constantFrom(0, 1, 500, 1_100, 3_000, 7_600, 9_999, 20_000),
});

/**
 * Hosts read, write and drop what one callee knows, each step of each at a moment that fast-check chooses: asking,
 * travelling, and every read and write of the shared tier. `known[host]` is the newest version that the host has been
 * told of by a drop.
 */
async function play(scheduler: fc.Scheduler, rounds: readonly Round[]): Promise<void> {
  const clock = new FakeClock();
  const step = (): Promise<unknown> => scheduler.schedule(Promise.resolve());
  const since: EpochMs[] = [clock.now()];
  const shared = new SharedMap(clock, step);
  const known = Array.from({ length: HOSTS }, () => 0);
  const caches = known.map(() => {
    const callee = new PantryCallee();
    callee.auto = async (request, call) => {
      await step();
      const answer = itemOf(request, call, since.length - 1);
      await step();
      return answer;
    };
    return cachedPantry(callee, clock, { shared });
  });
  const heard = (host: number, version: number): void => void (known[host] = Math.max(known[host]!, version));
  const read = async (host: number): Promise<void> => {
    const least = known[host]!;
    const { version } = await caches[host]!.stub.get({ id: 'a' }, callAt(clock.now()));
    assert.ok(version >= least, `host ${host} was told of version ${least}, asked, and got ${version}`);
    const outdatedAt = since[version + 1] ?? Number.POSITIVE_INFINITY;
    assert.ok(outdatedAt > clock.now() - TTL_MS, `host ${host} got version ${version}, outdated for ${clock.now() - outdatedAt} ms`);
  };
  const arrive = async (host: number, version: number): Promise<void> => {
    await step();
    caches[host]!.drop('pantry.item-changed', 'w1', { id: 'a' });
    heard(host, version);
  };
  const write = async (host: number): Promise<Promise<void>[]> => {
    await step();
    const version = since.push(clock.now()) - 1;
    const events = caches.map((_, other) => arrive(other, version));
    await step();
    caches[host]!.dropAll();
    heard(host, version);
    return events;
  };
  const act = async (host: number, actions: readonly string[]): Promise<void> => {
    const events: Promise<void>[] = [];
    for (const action of actions) {
      await step();
      if (action === 'read') await read(host);
      else if (action === 'write') events.push(...(await write(host)));
      else {
        caches[host]!.dropAll();
        heard(host, since.length - 1);
      }
    }
    await Promise.all(events);
  };
  for (const { hosts, sharedIsAway, thenMs } of rounds) {
    shared.reachable = !sharedIsAway;
    await scheduler.waitFor(Promise.all(hosts.map((actions, host) => act(host, actions))));
    await scheduler.waitIdle();
    await clock.advance(thenMs);
    await scheduler.waitIdle();
  }
}

describe('caches of several hosts', () => {
  it('never give what a host was told is outdated, nor what is older than its ttl, whatever overtakes what', async (t) => {
    const seed = Number(process.env.MULTILITH_SEED ?? Date.now() % 2 ** 31);
    t.diagnostic(`seed ${seed}`);
    await fc.assert(
      fc.asyncProperty(fc.scheduler(), fc.array(round, { minLength: 1, maxLength: 5 }), play),
      { seed, numRuns: 150 },
    );
  });
});
