import { domainToASCII } from 'node:url';

/** A mailbox as it goes into the envelope and the headers. */
export interface Address {
  /** `local@domain`, the domain in its ASCII form (IDNA). */
  readonly email: string;
  readonly domain: string;
}

/** RFC 5322 dot-atom. Quoted local parts are refused: what they hide (`"a@b"@c`) is read differently by every server. */
const DOT_ATOM = /^[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*$/;
const LABEL = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

/**
 * Reads an address that mail can be sent to anywhere; null for any other text. International domains are taken in
 * their ASCII form; local parts beyond ASCII are refused, since one server on the way without SMTPUTF8 (RFC 6531)
 * loses the mail. Source routes, comments, quoted local parts and address literals are refused.
 */
export function parseAddress(text: string): Address | null {
  if (text.length > 254) return null;
  const trimmed = text.trim();
  const at = trimmed.indexOf('@');
  if (at < 1 || at > 64 || at !== trimmed.lastIndexOf('@')) return null;
  const local = trimmed.slice(0, at);
  const domain = asciiDomain(trimmed.slice(at + 1));
  if (domain === null || !DOT_ATOM.test(local)) return null;
  const email = `${local}@${domain}`;
  return email.length > 254 ? null : { email, domain };
}

function asciiDomain(text: string): string | null {
  const plain = /^[A-Za-z0-9.-]+$/.test(text);
  // domainToASCII would percent-decode and drop what a URL does not need; only letters of other scripts may pass.
  if (!plain && !/^[\p{L}\p{M}\p{N}.-]+$/u.test(text)) return null;
  const domain = plain ? text.toLowerCase() : domainToASCII(text);
  const labels = domain.split('.');
  if (domain === '' || domain.length > 253 || !labels.every((label) => LABEL.test(label))) return null;
  const top = labels.at(-1)!;
  if (labels.length < 2) return domain === 'localhost' ? domain : null;
  return /^\d+$/.test(top) ? null : domain;
}

/** The form under which an address is suppressed: no server that matters tells mailboxes apart by case. */
export function suppressionKey(email: string): string {
  return (parseAddress(email)?.email ?? email.trim()).toLowerCase();
}
