import { createHmac } from 'node:crypto';
import { sameText } from '../access/secrets.ts';
import { fieldInvalid } from './validate.ts';

const MOST_CHARACTERS = 2_048;
const SIGNATURE_CHARACTERS = 22;

/**
 * Makes cursors opaque: `<where the list goes on>.<signature>`. The signature binds a cursor to its list, workspace,
 * filters and order, so that one from elsewhere is refused instead of answering something that looks right.
 */
export class Cursors {
  readonly #key: Uint8Array;

  constructor(key: Uint8Array) {
    this.#key = key;
  }

  /** `list` names everything that the cursor belongs to. */
  seal(inner: string, list: readonly unknown[]): string {
    const text = Buffer.from(inner).toString('base64url');
    return `${text}.${this.#sign(text, list)}`;
  }

  /** Fault `invalid` for a cursor that is malformed, or belongs to another list. */
  open(cursor: string, list: readonly unknown[]): string {
    const dot = cursor.lastIndexOf('.');
    const text = cursor.slice(0, Math.max(dot, 0));
    if (cursor.length > MOST_CHARACTERS || dot < 0 || !sameText(cursor.slice(dot + 1), this.#sign(text, list))) {
      throw fieldInvalid('query', 'after', 'string', 'is not a cursor of this list', 'Send the `next` of the answer before, with the same filters, or leave it out to begin anew.');
    }
    return Buffer.from(text, 'base64url').toString();
  }

  #sign(text: string, list: readonly unknown[]): string {
    return createHmac('sha256', this.#key).update(JSON.stringify([list, text])).digest('base64url').slice(0, SIGNATURE_CHARACTERS);
  }
}
