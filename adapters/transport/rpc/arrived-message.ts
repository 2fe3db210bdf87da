import type { Actor } from '../../../src/kernel/call.ts';
import { Arrived } from '../shared/arrived.ts';
import { AT, type Message } from './messages.ts';

/** A call that has come as a message. */
export class ArrivedMessage extends Arrived {
  /** Of the message. */
  readonly bytes: number;

  /** `message` has passed `requireCall`. */
  constructor(message: Message, request: unknown, writtenAt: number, bytes: number) {
    super({
      contract: message[AT.contract] as string,
      method: message[AT.method] as string,
      request,
      id: message[AT.id] as string,
      workspace: message[AT.workspace] as string | null,
      actor: { kind: message[AT.actorKind] as Actor['kind'], id: message[AT.actorId] as string },
      trace: { traceId: message[AT.traceId] as string, spanId: message[AT.spanId] as string },
      idempotencyKey: (message[AT.key] as string | null) ?? undefined,
      deadline: writtenAt + (message[AT.leftMs] as number),
    });
    this.bytes = bytes;
  }
}
