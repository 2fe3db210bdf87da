import type { z } from 'zod';
import type { Trace } from '../../../src/kernel/call.ts';
import { idBeside } from '../../../src/kernel/ids.ts';
import type { Transaction } from '../../../src/ports/storage.ts';
import { type SendRequest, sendRequested } from '../../notification/contract.ts';
import type { AutomationRule } from '../contract.ts';
import type { Properties } from '../../../src/kernel/conditions/field.ts';
import type { TriggerTables } from '../tables.ts';

/** One person's way through one automation, begun by one event. */
export interface Run {
  readonly workspace: string;
  readonly automationId: string;
  readonly version: number;
  readonly personId: string;
  readonly eventId: string;
  readonly properties: Properties;
}

/** The same for the same event and automation, however often it is asked. */
export function runIdOf(workspace: string, automationId: string, eventId: string): string {
  return idBeside(eventId, 'run', workspace, automationId, eventId);
}

/** Asks notification to send; the message's id comes from the run's, so that asking twice sends once. */
export async function requestSend(tx: Transaction<TriggerTables>, runId: string, run: Run, send: AutomationRule['send'], trace?: Trace): Promise<void> {
  const { workspace, personId, automationId, version, eventId, properties } = run;
  const request: z.infer<typeof SendRequest> = {
    personId,
    templateId: send.templateId,
    channel: send.channel,
    source: { kind: 'automation', id: automationId, version, runId, eventId },
    event: properties,
  };
  await tx.publish(sendRequested, request, { workspace, id: idBeside(runId, 'delivery', runId), ...(trace === undefined ? {} : { trace }) });
}
