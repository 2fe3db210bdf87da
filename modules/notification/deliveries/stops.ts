import { inSizes } from '../../../src/ports/sized.ts';
import type { Reader } from '../../../src/ports/storage.ts';
import { suppressionKey } from '../compose/address.ts';
import { personSubject } from '../suppressions/subject.ts';
import type { StopReason } from '../suppressions/suppressions.ts';
import type { NotificationTables } from '../tables.ts';
import { findSuppressions } from './delivery-statements.ts';
import type { StoredDelivery } from './delivery.ts';

/** A delivery that is about to go. `askedFor` is another person than its own when that one has been merged since. */
export interface Going {
  readonly delivery: StoredDelivery & { readonly to: string };
  readonly askedFor: string;
}

/** Why each of these must not go, by what is in the list; null for those that may. In their order. */
export async function stopsOf(reader: Reader<NotificationTables>, all: readonly Going[]): Promise<(StopReason | null)[]> {
  const asked = all.map((going) => ({ list: JSON.stringify([going.delivery.workspace, going.delivery.channel]), subjects: subjectsOf(going) }));
  const wanted = Map.groupBy(asked, ({ list }) => list);
  const found = new Map<string, string>();
  await Promise.all(
    [...wanted].map(async ([list, some]) => {
      const subjects = [...new Set(some.flatMap((one) => one.subjects))];
      for (const [subject, reason] of await reasonsOf(reader, JSON.parse(list) as [string, string], subjects)) found.set(`${list} ${subject}`, reason);
    }),
  );
  return asked.map(({ list, subjects }) => {
    const reason = subjects.map((subject) => found.get(`${list} ${subject}`)).find((one) => one !== undefined);
    return reason === undefined ? null : reason === 'unsubscribed' ? 'unsubscribed' : 'suppression_list';
  });
}

/** In their order. A test goes to an address that staff gave, whatever the person whose data it shows has said. */
function subjectsOf({ delivery: { to, personId, source }, askedFor }: Going): string[] {
  const people = source.kind === 'test' ? [] : [personSubject(personId), personSubject(askedFor)];
  return [...new Set([suppressionKey(to), ...people])].sort();
}

async function reasonsOf(reader: Reader<NotificationTables>, [workspace, channel]: readonly [string, string], subjects: readonly string[]): Promise<[subject: string, reason: string][]> {
  const reasons: [string, string][] = [];
  for (const [{ statement }, some] of inSizes(findSuppressions, subjects)) {
    for (const { subject, reason } of await reader.run(statement, { workspace, channel, ...some })) reasons.push([subject, reason]);
  }
  return reasons;
}
