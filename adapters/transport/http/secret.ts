import { timingSafeEqual } from 'node:crypto';

const SCHEME = 'bearer ';

/** The value of the header, its bytes as Latin-1 as headers are written: a secret may hold any Unicode. */
export function authorizationOf(secret: string): string {
  return `Bearer ${Buffer.from(secret, 'utf8').toString('latin1')}`;
}

/** Whether a header shows the secret. How long that takes tells nothing of the secret but its length. */
export class SecretCheck {
  readonly #expected: Buffer | undefined;
  readonly #shown: Buffer;

  /** Null asks for nothing. */
  constructor(secret: string | null) {
    this.#expected = secret === null ? undefined : Buffer.from(secret, 'utf8');
    this.#shown = Buffer.alloc(this.#expected?.length ?? 0);
  }

  passes(authorization = ''): boolean {
    const expected = this.#expected;
    if (expected === undefined) return true;
    const sameForm = authorization.length === SCHEME.length + expected.length && authorization.slice(0, SCHEME.length).toLowerCase() === SCHEME;
    this.#shown.fill(0).write(authorization.slice(SCHEME.length), 'latin1');
    return timingSafeEqual(this.#shown, expected) && sameForm;
  }
}
