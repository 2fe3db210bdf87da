import type { Outgoing } from './bus.ts';

/** What one part carries: at most about four times as many bytes, whatever the script and the quotes. */
const CHARACTERS_AT_ONCE = 1024 * 1024;
const MESSAGES_AT_ONCE = 2_000;

/** The messages of one call, in order, in parts that a link and a broker can carry as a whole. A longer message is a part of its own. */
export function* publishParts(messages: readonly Outgoing[]): Generator<Outgoing[]> {
  let part: Outgoing[] = [];
  let characters = 0;
  for (const message of messages) {
    if (part.length > 0 && (characters + message.payload.length > CHARACTERS_AT_ONCE || part.length >= MESSAGES_AT_ONCE)) {
      yield part;
      part = [];
      characters = 0;
    }
    part.push(message);
    characters += message.payload.length;
  }
  if (part.length > 0) yield part;
}
