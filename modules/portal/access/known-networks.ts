import type { EpochMs } from '../../../src/kernel/clock.ts';
import type { Reader, Transaction } from '../../../src/ports/storage.ts';
import type { Tables } from '../tables.ts';

/** Of each user; the ones not seen for the longest go first. */
const MOST_KEPT = 20;

/*
 * Where a user has logged in from. Failures are counted apart there, so that a stranger who tries passwords can make the
 * account wait for strangers, but not for its owner.
 */

/** Of a user who does not exist, nothing is known, and it takes as long to say so. */
export async function isKnownNetwork(reader: Reader<Tables>, account: string, network: string): Promise<boolean> {
  const row = await reader.db
    .selectFrom('users')
    .innerJoin('login_networks', 'login_networks.user_id', 'users.id')
    .select('users.id')
    .where('users.email_key', '=', account)
    .where('login_networks.network', '=', network)
    .executeTakeFirst();
  return row !== undefined;
}

/** The user has shown the right password there. */
export async function noteNetwork(tx: Transaction<Tables>, userId: string, network: string, now: EpochMs): Promise<void> {
  await tx.db
    .insertInto('login_networks')
    .values({ user_id: userId, network, seen_at: now })
    .onConflict((c) => c.columns(['user_id', 'network']).doUpdateSet({ seen_at: now }))
    .execute();
  const kept = tx.db.selectFrom('login_networks').select('network').where('user_id', '=', userId).orderBy('seen_at', 'desc').orderBy('network').limit(MOST_KEPT);
  await tx.db.deleteFrom('login_networks').where('user_id', '=', userId).where('network', 'not in', kept).execute();
}

/** With the password go the places where an old one, perhaps in wrong hands, was right. */
export async function forgetNetworks(tx: Transaction<Tables>, userId: string): Promise<void> {
  await tx.db.deleteFrom('login_networks').where('user_id', '=', userId).execute();
}
