import { inject, injectable } from 'inversify';
import { Clock } from '../../../src/kernel/clock.ts';
import type { Received } from '../../../src/kernel/message.ts';
import type { TransactionalHandler } from '../../../src/kernel/module.ts';
import type { Transaction } from '../../../src/ports/storage.ts';
import { LiveSegments } from '../segments/live-segments.ts';
import type { Tables } from '../tables.ts';
import { IdentityHashes } from './identity-hashes.ts';
import { WorkingSet } from './working-set.ts';

interface Unsubscribed {
  readonly personId: string;
  readonly channel: string;
  readonly time: number;
}

/** Records that the person herself wants no more mail: no trait undoes that. Whoever was merged or deleted is found, or needs nothing. */
@injectable()
export class UnsubscribedHandler implements TransactionalHandler<Unsubscribed, Transaction<Tables>> {
  readonly #clock: Clock;
  readonly #hashes: IdentityHashes;
  readonly #segments: LiveSegments;

  constructor(@inject(Clock) clock: Clock, @inject(IdentityHashes) hashes: IdentityHashes, @inject(LiveSegments) segments: LiveSegments) {
    this.#clock = clock;
    this.#hashes = hashes;
    this.#segments = segments;
  }

  async handle({ workspace, payload, trace }: Received<Unsubscribed>, tx: Transaction<Tables>): Promise<void> {
    const people = new WorkingSet(tx, { workspace: workspace!, now: this.#clock.now(), hashes: this.#hashes, segments: this.#segments, trace });
    const person = await people.byId(payload.personId);
    // What she, or staff for her, said after it counts more.
    if (person === null || (person.consent.by !== 'traits' && person.consent.at > payload.time)) return;
    people.change({ ...person, consent: { state: 'denied', by: 'person', at: payload.time } });
    await people.flush();
  }
}
