import { statement, type StorageTransaction } from '../../../src/ports/storage.ts';
import type { Tables } from '../tables.ts';
import type { Principal } from './principal.ts';

// Transactions of one group have one position: the first of them writes it.
const ofSession = statement<Tables, { id: string; position: string }>()((db, p) =>
  db
    .updateTable('sessions')
    .set({ last_write: p('position') })
    .where('id', '=', p('id'))
    .where((eb) => eb.or([eb('last_write', 'is', null), eb('last_write', '<>', p('position'))])),
);
const ofKey = statement<Tables, { id: string; workspace: string; position: string }>()((db, p) =>
  db
    .updateTable('api_keys')
    .set({ last_write: p('position') })
    .where('workspace_id', '=', p('workspace'))
    .where('id', '=', p('id'))
    .where((eb) => eb.or([eb('last_write', 'is', null), eb('last_write', '<>', p('position'))])),
);

/**
 * Notes in the last transaction of a change who has made it, so that their lists show it from now on, whichever process they
 * ask: it lies where each request looks up its session or key anyway. Where no reader is ever behind there is nothing to note.
 */
export async function noteLastWrite(tx: StorageTransaction<Tables>, { actor, session, workspace }: Principal): Promise<void> {
  const { position } = tx;
  if (position === null) return;
  if (session !== null) await tx.run(ofSession, { id: session.sessionId, position });
  else if (workspace !== null) await tx.run(ofKey, { id: actor.id, workspace, position });
}
