import { inject, injectable } from 'inversify';
import type { z } from 'zod';
import type { Call } from '../../../src/kernel/call.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import { idFrom, newId } from '../../../src/kernel/ids.ts';
import { statement, Store } from '../../../src/ports/storage.ts';
import type { CompiledTemplate } from '../../portal/contract.ts';
import { sendRequested } from '../contract.ts';
import type { NotificationTables } from '../tables.ts';

/** All that a test mail is made of: its template need not be published, and its person need not exist. */
export interface TestMail {
  readonly compiled: z.infer<typeof CompiledTemplate>;
  readonly to: string;
  /** `person.…` and `event.…` of the template. */
  readonly person: object;
  readonly event: object;
}

const find = statement<NotificationTables, { workspace: string; id: string }>()((db, p) =>
  db.selectFrom('test_mails').select('mail').where('workspace', '=', p('workspace')).where('delivery_id', '=', p('id')),
);

/** Test sends go the way of all others; what they are made of lies here until they come to rest. */
@injectable()
export class TestMails {
  readonly #store: Store<NotificationTables>;

  constructor(@inject(Store) store: Store<NotificationTables>) {
    this.#store = store;
  }

  async find(workspace: string, deliveryId: string): Promise<TestMail | null> {
    const [row] = await this.#store.run(find, { workspace, id: deliveryId });
    return row === undefined ? null : (JSON.parse(row.mail) as TestMail);
  }

  /** Queues it and answers the delivery's id: the same one for the same caller's same idempotency key. */
  async queue(mail: TestMail, about: { readonly templateId: string; readonly channel: string; readonly personId: string }, call: Call): Promise<string> {
    const workspace = call.requireWorkspace();
    const id = call.idempotencyKey === undefined ? newId() : idFrom('notification.test', workspace, call.actor.kind, call.actor.id, call.idempotencyKey);
    const source = { kind: 'test' as const, id: about.templateId, version: 1, runId: id, eventId: id };
    try {
      await this.#store.transaction(async (tx) => {
        await tx.db.insertInto('test_mails').values({ workspace, delivery_id: id, mail: JSON.stringify(mail) }).execute();
        await tx.publish(sendRequested, { personId: about.personId, templateId: about.templateId, channel: about.channel, source, event: {} }, { workspace, id, lane: 'urgent', trace: call.trace });
      });
    } catch (fault) {
      if (!isRepeat(fault)) throw fault;
    }
    return id;
  }
}

function isRepeat(fault: unknown): boolean {
  return Fault.is(fault) && fault.code === 'conflict' && fault.reason === 'unique';
}
