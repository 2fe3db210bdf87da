import { Unpackr } from 'msgpackr';
import { KIND_MESSAGES, KIND_MESSAGES_AFRESH, WireError } from './frames.ts';
import type { Message } from './messages.ts';

/** Reads the messages of one direction, and knows its records. */
export class Incoming {
  #unpackr = newUnpackr();

  /**
   * Calls `take` for each message, with its size in bytes.
   * @throws WireError for what is none.
   */
  read(body: Buffer, take: (message: Message, bytes: number) => void): void {
    const kind = body[0];
    if (kind === KIND_MESSAGES_AFRESH) this.#unpackr = newUnpackr();
    else if (kind !== KIND_MESSAGES) throw new WireError(`It sent a frame of kind ${kind}.`);
    const messages: Message[] = [];
    const sizes: number[] = [];
    // First all, then each: whatever a message sets off may itself come back to the decoder.
    try {
      this.#unpackr.unpackMultiple(body.subarray(1), (value, from, to) => {
        if (!Array.isArray(value)) return;
        messages.push(value);
        sizes.push(to! - from!);
      });
    } catch {
      throw new WireError('It sent messages that cannot be read.');
    }
    for (let i = 0; i < messages.length; i++) take(messages[i]!, sizes[i]!);
  }
}

/** `sequential`: records last as long as the connection. Peers without records may send maps. */
function newUnpackr(): Unpackr {
  return new Unpackr({ sequential: true, mapsAsObjects: true });
}
