import { Fault } from '../../../src/kernel/fault.ts';

/** What of the broker's is full, in its words, and what to do. The reason `disk_full` is every bus's. */
const LIMITS: readonly { readonly says: RegExp; readonly reason: string; readonly message: string; readonly remedy: string }[] = [
  { says: /memory (usage )?limit|MemoryUsage/i, reason: 'broker_memory', message: 'The broker has no memory left for more messages.', remedy: 'Give it a larger memoryUsage (and -Xmx), and use the shipped config/activemq.xml, by which the log of messages stays on disk (lazyDispatch).' },
  { says: /temp(orary)? (store|usage)|TempUsage/i, reason: 'broker_temp', message: 'The broker has no temporary space left.', remedy: 'Give it a larger tempUsage, or its disk more room.' },
  { says: /store is full|no space|usage.*(limit|full)|is full|SystemUsage|Usage Manager/i, reason: 'disk_full', message: 'The broker has no disk space left for messages.', remedy: 'Give it a larger storeUsage (mq.store), or its disk more room; restart it where it asks for that.' },
];

/** Codes of Node and OpenSSL for a certificate that is not believed, and in words. */
const CERTIFICATE_WORDS: Readonly<Record<string, string>> = {
  SELF_SIGNED_CERT_IN_CHAIN: 'it is not signed by the authority in bus.ca',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'it is signed by itself; give it in bus.ca',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'it is not signed by the authority in bus.ca',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'it is not signed by the authority in bus.ca',
  UNABLE_TO_GET_ISSUER_CERT: 'it is not signed by the authority in bus.ca',
  CERT_SIGNATURE_FAILURE: 'it is not signed by the authority in bus.ca',
  ERR_TLS_CERT_ALTNAME_INVALID: 'it is for another name; set bus.servername to one that it has',
  CERT_HAS_EXPIRED: 'it has expired',
  CERT_NOT_YET_VALID: 'it is not valid yet',
};
const FULL_RETRY_MS = 5_000;

export function away(message: string, origin: 'unsent' | 'lost', cause?: unknown): Fault {
  return new Fault('unavailable', message, { reason: 'broker_away', origin, cause, details: { remedy: 'Start it where nobody does; its log says why it ended, such as a full disk.' } });
}

/** It may be another server, stand still, or be out of reach. */
export function mute(waitedMs: number): Fault {
  const remedy = 'It does not answer. If it runs, look at its log, its disk and its memory, and start it again where it stays so.';
  return new Fault('unavailable', `The broker did not answer within ${waitedMs} ms; if it is there, check bus.port and whether it speaks TLS at it (bus.tls).`, { reason: 'broker_away', origin: 'unsent', details: { remedy } });
}

/** A file or a text of the settings. */
export function unreadable(message: string, cause: unknown): Fault {
  return new Fault('unavailable', message, { reason: 'broker_refused', origin: 'unsent', cause });
}

/** The broker would answer with an error that ends the connection and everything under way on it. */
export function foreign(): Fault {
  return new Fault('internal', 'It came by another connection, and cannot be acknowledged here.', { origin: 'unsent' });
}

/** Why a connection could not be opened. */
export function refusal(error: Error): Fault {
  // stompit puts the password there.
  delete (error as { connectArgs?: object }).connectArgs;
  const { code = '' } = error as NodeJS.ErrnoException;
  const certificate = CERTIFICATE_WORDS[code];
  if (certificate !== undefined) return unreadable(`The broker's certificate is not believed: ${certificate}.`, error);
  if (/^ERR_SSL_.*(UNKNOWN_CA|BAD_CERTIFICATE|CERTIFICATE_REQUIRED|CERTIFICATE_UNKNOWN|HANDSHAKE_FAILURE)/.test(code)) return unreadable('The broker does not believe the certificate of this host; check bus.cert and bus.key.', error);
  if (code === 'EPROTO' || code.startsWith('ERR_SSL_')) return unreadable('The broker does not speak TLS at this port; check bus.port and bus.tls.', error);
  if ((error as { isApplicationError?: () => boolean }).isApplicationError?.() !== true) return away('The broker cannot be reached.', 'unsent', error);
  return unreadable('The broker refuses the connection; look at its user, its password and its log.', error);
}

/** An ERROR frame ends the connection, and with it everything under way, of which the one that it speaks of is not told apart. */
export function failure(error: Error): Fault {
  const full = LIMITS.find(({ says }) => says.test(error.message));
  if (full === undefined) return away('The connection to the broker has failed.', 'lost', error);
  const { reason, message, remedy } = full;
  return new Fault('exhausted', message, { reason, details: { retryAfterMs: FULL_RETRY_MS, remedy }, origin: 'lost', cause: error });
}
