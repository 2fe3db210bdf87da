import type { ChannelResult } from '../../../src/ports/channel.ts';

/** How a try ended, and what that means for the connection and the channel. */
export interface Verdict {
  readonly result: ChannelResult;
  /** The connection can take another message (after RSET when `reset`). */
  readonly connection: 'reuse' | 'reset' | 'close';
  /** The server took part as a server does; otherwise it counts towards resting the channel. */
  readonly serverIsUp: boolean;
}

/** What nodemailer's connection tells of a failure. */
export interface SmtpError {
  readonly code?: string;
  readonly originalCode?: string;
  readonly command?: string;
  readonly response?: string;
  readonly responseCode?: number;
  readonly timeoutType?: string;
  readonly message: string;
}

/** Words of the other side, fit for showing and storing. */
export function printable(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f\ufffd\s]+/g, ' ').toWellFormed().trim().slice(0, 1_000);
}

/** The enhanced status (RFC 3463) of a reply, else `smtp_<code>`. */
export function statusOf(reply: string): string {
  const found = /^(\d{3})[ -](?:(\d\.\d{1,3}\.\d{1,3})(?= |$))?/m.exec(reply);
  if (found === null) return 'protocol_error';
  return found[2] ?? `smtp_${found[1]}`;
}

/** RFC 5321 section 4.2.1: every line of a reply has the same code. Anything else is no answer to rely on. */
export function isSound(reply: string): boolean {
  const lines = reply.split('\n');
  const code = /^[2-5]\d\d/.exec(reply)?.[0];
  return code !== undefined && lines.every((line, i) => line.startsWith(code) && (i === lines.length - 1 ? /^\d{3}(?: |\r?$)/ : /^\d{3}-/).test(line));
}

/** The server's answer to the whole message. */
export function acceptedVerdict(reply: string): Verdict {
  const response = printable(reply);
  if (!isSound(reply)) return { result: { kind: 'uncertain', response, reason: 'protocol_error' }, connection: 'close', serverIsUp: true };
  return { result: { kind: 'accepted', response, reason: statusOf(reply) }, connection: 'reuse', serverIsUp: true };
}

/**
 * What a failed try means. `handedOver`: the last byte of the message has left for the server, so that without an
 * answer nobody knows; before that no server can have taken it.
 */
export function failedVerdict(error: SmtpError, handedOver: boolean): Verdict {
  const { response, responseCode } = error;
  if (response === undefined || responseCode === undefined || !isSound(response)) return unanswered(error, handedOver);
  const words = printable(response);
  const reason = statusOf(response);
  if (responseCode === 421) return { result: { kind: 'deferred', response: words, reason }, connection: 'close', serverIsUp: false };
  const connection = handedOver ? 'reuse' : 'reset';
  if (responseCode >= 500) return { result: { kind: 'rejected', response: words, reason }, connection, serverIsUp: true };
  if (responseCode >= 400) return { result: { kind: 'deferred', response: words, reason }, connection, serverIsUp: true };
  return unanswered(error, handedOver);
}

function unanswered(error: SmtpError, handedOver: boolean): Verdict {
  if (error.code === 'EMESSAGE' && error.response === undefined) {
    return { result: { kind: 'rejected', response: printable(error.message), reason: 'message_too_large' }, connection: 'reuse', serverIsUp: true };
  }
  if (error.code === 'EENVELOPE' && error.command === 'API') {
    return { result: { kind: 'rejected', response: printable(error.message), reason: 'invalid_address' }, connection: 'reuse', serverIsUp: true };
  }
  const response = printable(error.response ?? error.message);
  return { result: { kind: handedOver ? 'uncertain' : 'deferred', response, reason: failureName(error) }, connection: 'close', serverIsUp: false };
}

/** A failure before the first message: whatever the code, it is about us and the server, not about the message. */
export function connectVerdict(error: SmtpError): Verdict {
  return { result: { kind: 'deferred', response: printable(error.response ?? error.message), reason: failureName(error) }, connection: 'close', serverIsUp: false };
}

const NAMES: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection_refused',
  ECONNRESET: 'connection_closed',
  EPIPE: 'connection_closed',
  ECONNECTION: 'connection_closed',
  EHOSTUNREACH: 'host_unreachable',
  ENETUNREACH: 'host_unreachable',
  EDNS: 'dns_failed',
  ENOTFOUND: 'dns_failed',
  EAI_AGAIN: 'dns_failed',
  ETIMEDOUT: 'timeout',
  ETLS: 'tls_failed',
  EAUTH: 'login_refused',
  EPROTOCOL: 'protocol_error',
};

function failureName(error: SmtpError): string {
  if (error.code === 'EAUTH' || error.code === 'ETLS' || error.code === 'EDNS') return NAMES[error.code]!;
  return NAMES[error.originalCode ?? ''] ?? NAMES[error.code ?? ''] ?? (error.code === 'ESOCKET' ? (isCertificate(error) ? 'tls_failed' : 'connection_closed') : 'protocol_error');
}

function isCertificate(error: SmtpError): boolean {
  return /CERT|SSL|TLS|SELF_SIGNED|ALTNAME/i.test(error.originalCode ?? '') || /certificate|ssl|tls/i.test(error.message);
}
