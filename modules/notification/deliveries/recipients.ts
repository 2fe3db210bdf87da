import { inject, injectable } from 'inversify';
import { systemCall } from '../../../src/kernel/call.ts';
import { Clock } from '../../../src/kernel/clock.ts';
import { portal, type Person, type Portal } from '../../portal/contract.ts';

interface Waiting {
  readonly resolve: (person: Person | null) => void;
  readonly reject: (reason: unknown) => void;
}

const CALL_MS = 5_000;
/** The most that portal answers in one call. */
const MOST_IDS = 1_000;

/** Persons as they stand now. All that is asked for in one turn of the event loop is one call per workspace. */
@injectable()
export class Recipients {
  readonly #portal: Portal;
  readonly #clock: Clock;
  readonly #wanted = new Map<string, Map<string, Waiting[]>>();

  constructor(@inject(portal.id) portalContract: Portal, @inject(Clock) clock: Clock) {
    this.#portal = portalContract;
    this.#clock = clock;
  }

  /** The person, or whom she went up in; null for one who is not known (any more). */
  get(workspace: string, personId: string): Promise<Person | null> {
    return new Promise((resolve, reject) => {
      if (this.#wanted.size === 0) setImmediate(() => this.#fetchAll());
      const people = this.#wanted.get(workspace) ?? new Map<string, Waiting[]>();
      this.#wanted.set(workspace, people);
      const waiting = people.get(personId);
      if (waiting) waiting.push({ resolve, reject });
      else people.set(personId, [{ resolve, reject }]);
    });
  }

  #fetchAll(): void {
    const wanted = [...this.#wanted];
    this.#wanted.clear();
    for (const [workspace, people] of wanted) {
      const entries = [...people];
      for (let from = 0; from < entries.length; from += MOST_IDS) void this.#fetch(workspace, new Map(entries.slice(from, from + MOST_IDS)));
    }
  }

  async #fetch(workspace: string, wanted: ReadonlyMap<string, Waiting[]>): Promise<void> {
    try {
      const call = systemCall('notification', workspace, this.#clock.now() + CALL_MS);
      const { people, merged } = await this.#portal.getRecipients({ personIds: [...wanted.keys()] }, call);
      const found = new Map(people.map((person) => [person.personId, person]));
      for (const [personId, waiting] of wanted) for (const { resolve } of waiting) resolve(found.get(merged[personId] ?? personId) ?? null);
    } catch (fault) {
      for (const waiting of wanted.values()) for (const { reject } of waiting) reject(fault);
    }
  }
}
