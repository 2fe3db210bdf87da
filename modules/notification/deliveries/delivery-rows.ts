import type { NotificationTables } from '../tables.ts';
import type { Delivery } from '../contract.ts';
import type { StoredDelivery } from './delivery.ts';

type Row = NotificationTables['deliveries'];

export function deliveryOf(row: Row): StoredDelivery {
  return {
    workspace: row.workspace,
    deliveryId: row.id,
    personId: row.person_id,
    to: row.to_address,
    templateId: row.template_id,
    templateVersion: row.template_version,
    channel: row.channel,
    source: { kind: row.source_kind, id: row.source_id, version: row.source_version, runId: row.run_id, eventId: row.event_id },
    state: row.state,
    reason: row.reason,
    messageId: row.message_id,
    mayBeRepeated: row.may_be_repeated === 1,
    tries: row.tries,
    attempts: JSON.parse(row.attempts) as StoredDelivery['attempts'],
    nextAttemptAt: row.next_attempt_at,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  };
}

export function rowOf(delivery: StoredDelivery): Row {
  const { source } = delivery;
  return {
    workspace: delivery.workspace,
    id: delivery.deliveryId,
    person_id: delivery.personId,
    channel: delivery.channel,
    template_id: delivery.templateId,
    template_version: delivery.templateVersion,
    source_kind: source.kind,
    source_id: source.id,
    source_version: source.version,
    run_id: source.runId,
    event_id: source.eventId,
    to_address: delivery.to,
    state: delivery.state,
    reason: delivery.reason,
    message_id: delivery.messageId,
    may_be_repeated: delivery.mayBeRepeated ? 1 : 0,
    tries: delivery.tries,
    attempts: JSON.stringify(delivery.attempts),
    next_attempt_at: delivery.nextAttemptAt,
    created_at: delivery.createdAt,
    updated_at: delivery.updatedAt,
  };
}

/** As other modules see it. */
export function shown({ workspace: _, tries: __, ...delivery }: StoredDelivery): Delivery {
  return { ...delivery, attempts: [...delivery.attempts] };
}
