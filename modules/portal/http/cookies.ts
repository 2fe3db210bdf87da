import { LONGEST_MS } from '../access/sessions.ts';

/**
 * Cookies of an installation at `publicUrl`. Over https they carry the prefix that ties them to this host and to TLS
 * (RFC 6265bis, 4.1.3), so that no neighbouring host can plant one.
 */
export class Cookies {
  readonly #secure: boolean;

  constructor(publicUrl: string) {
    this.#secure = publicUrl.startsWith('https:');
  }

  get sessionName(): string {
    return this.#name('session');
  }

  session(secret: string): string {
    return this.#cookie(this.sessionName, secret, Math.floor(LONGEST_MS / 1_000));
  }

  sessionEnded(): string {
    return this.#cookie(this.sessionName, '', 0);
  }

  /** Ties the login form to the browser that it was shown in. */
  get formName(): string {
    return this.#name('form');
  }

  form(secret: string): string {
    return this.#cookie(this.formName, secret, 3_600);
  }

  #name(name: string): string {
    return this.#secure ? `__Host-${name}` : name;
  }

  #cookie(name: string, value: string, maxAgeSeconds: number): string {
    return `${name}=${value}; Path=/; Max-Age=${maxAgeSeconds}; HttpOnly; SameSite=Lax${this.#secure ? '; Secure' : ''}`;
  }
}

/** The first cookie of that name; undefined when there is none. */
export function readCookie(header: string | undefined, name: string): string | undefined {
  for (const part of (header ?? '').split(';')) {
    const equals = part.indexOf('=');
    if (equals > 0 && part.slice(0, equals).trim() === name) return part.slice(equals + 1).trim();
  }
  return undefined;
}
