import { randomBytes } from 'node:crypto';
import { dateHeader, mailboxHeader, unstructuredHeader } from './header.ts';
import { encodeBody } from './transfer-encoding.ts';

/** What differs from one recipient of a template version to the next. */
export interface MailParts {
  /** Without the angle brackets; see `messageIdOf`. */
  readonly messageId: string;
  /** Has passed `parseAddress`, as `from` has. */
  readonly to: string;
  readonly from: { readonly name: string; readonly email: string };
  readonly subject: string;
  readonly html: string;
  readonly text: string;
  readonly unsubscribeUrl: string;
  /** Epoch milliseconds. */
  readonly now: number;
}

/** `=_` occurs neither in quoted-printable nor in base64; a body that goes as it is gets checked. */
const newBoundary = (): string => `=_${randomBytes(12).toString('hex')}`;
/** One for all mails of this process, since drawing one costs more than using it. */
const usualBoundary = newBoundary();

/** The same for every try of one delivery, so that a repeated mail can be recognised. Without the angle brackets. */
export function messageIdOf(deliveryId: string, senderDomain: string): string {
  return `${deliveryId}@${senderDomain}`;
}

/**
 * A whole message (RFC 5322, CRLF, multipart/alternative). It carries List-Unsubscribe and List-Unsubscribe-Post
 * (RFC 8058), and no Auto-Submitted: what a person agreed to get is list mail, which responders know by List-*.
 */
export function composeMail(parts: MailParts): Buffer {
  const text = encodeBody(parts.text);
  const html = encodeBody(parts.html);
  // The line end before a boundary belongs to it (RFC 2046 section 5.1.1); each body brings its own.
  const boundary = freeBoundary(text.text, html.text);
  return Buffer.from(
    mailboxHeader('From', parts.from.name, parts.from.email) +
      mailboxHeader('To', '', parts.to) +
      unstructuredHeader('Subject', parts.subject) +
      `Date: ${dateHeader(parts.now)}\r\n` +
      `Message-ID: <${parts.messageId}>\r\n` +
      'MIME-Version: 1.0\r\n' +
      `List-Unsubscribe: <${parts.unsubscribeUrl}>\r\n` +
      'List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n' +
      `Content-Type: multipart/alternative; boundary="${boundary}"\r\n\r\n` +
      `--${boundary}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: ${text.encoding}\r\n\r\n${text.text}` +
      `--${boundary}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: ${html.encoding}\r\n\r\n${html.text}` +
      `--${boundary}--\r\n`,
    'latin1',
  );
}

function freeBoundary(text: string, html: string): string {
  // Whoever has had a mail knows the usual one; nobody can have known one that is drawn now.
  return text.includes(usualBoundary) || html.includes(usualBoundary) ? newBoundary() : usualBoundary;
}
