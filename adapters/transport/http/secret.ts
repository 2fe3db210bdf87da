import { hash, timingSafeEqual } from 'node:crypto';

const SCHEME = /^bearer +/i;

export function authorizationOf(secret: string): string {
  return `Bearer ${secret}`;
}

/** Whether a header shows the secret. Takes the same time however much of it is right: digests are compared, in full. */
export class SecretCheck {
  readonly #digest: Buffer | undefined;

  /** Null asks for nothing. */
  constructor(secret: string | null) {
    this.#digest = secret === null ? undefined : digestOf(secret);
  }

  passes(authorization: string | undefined): boolean {
    if (this.#digest === undefined) return true;
    return timingSafeEqual(this.#digest, digestOf(authorization?.replace(SCHEME, '') ?? ''));
  }
}

function digestOf(text: string): Buffer {
  return hash('sha256', text, 'buffer');
}
