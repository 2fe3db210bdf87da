import type { ClientConfig } from 'pg';
import { Fault } from '../../../src/kernel/fault.ts';
import type { StorageCheck } from '../../../src/ports/storage.ts';
import { postgresFault } from './errors.ts';
import { lsnOf } from './log-samples.ts';
import { type Primary, PRIMARY, primaryOf } from './primary-log.ts';
import { IDENTITY, requireFollower } from './replica-conversation.ts';
import { Session } from './session.ts';

const CLOSE_MS = 1_000;

/** Looks at the primary and at the server that follows it, changing nothing at either. Never rejects. */
export async function checkServers(primary: ClientConfig, replica: ClientConfig | undefined): Promise<StorageCheck[]> {
  const found = await asked(primary, PRIMARY);
  if (Fault.is(found)) return [{ part: 'server', ok: false, detail: found.message, remedy: String(found.details.remedy) }];
  const server: StorageCheck = { part: 'server', ok: true, detail: 'answers' };
  return replica === undefined ? [server] : [server, await checkReplica(replica, primaryOf(found))];
}

async function checkReplica(replica: ClientConfig, primary: Primary): Promise<StorageCheck> {
  const part = 'replica';
  const found = await asked(replica, IDENTITY);
  if (Fault.is(found)) return { part, ok: false, detail: found.message, remedy: `${String(found.details.remedy)} Until then lists come from the primary.` };
  try {
    requireFollower(found, primary);
  } catch (refusal) {
    return { part, ok: false, detail: 'is none of this server', remedy: `${(refusal as Error).message}.` };
  }
  const bytes = primary.lsn - lsnOf(found.lsn as string);
  return { part, ok: true, detail: bytes <= 0n ? 'follows the primary, and has all of it' : `follows the primary, ${bytes} bytes of its log behind` };
}

async function asked(config: ClientConfig, question: string): Promise<Record<string, unknown> | Fault> {
  try {
    const session = await Session.open(config);
    try {
      return (await session.within(config.connectionTimeoutMillis!, session.control(question)))[0]!;
    } finally {
      await session.close(CLOSE_MS);
    }
  } catch (error) {
    return postgresFault(error, 'unsent');
  }
}
