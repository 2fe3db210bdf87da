import { createPrivateKey, X509Certificate } from 'node:crypto';
import { createSecureContext } from 'node:tls';
import { reject, type Checking } from './check.ts';
import { sourceOf } from './layers.ts';
import type { ConfigShape } from './schema.ts';

/** Notes which of the PEM texts of `peers.tls` are none, and a key that is another certificate's: the library names neither. */
export function checkPeerTls({ tls }: ConfigShape['peers'], checking: Checking): void {
  if (tls === undefined) return;
  const isThere = (name: string) => !checking.secrets.missing.has(`peers.tls.${name}`);
  const certificateAt = (name: 'cert' | 'ca') => (isThere(name) ? partAt(name, () => new X509Certificate(tls[name]), 'must be a certificate as PEM text, -----BEGIN CERTIFICATE-----', checking) : undefined);
  const own = certificateAt('cert');
  const authority = certificateAt('ca');
  for (const [name, certificate] of Object.entries({ cert: own, ca: authority })) if (certificate !== undefined && certificate.validToDate.getTime() < Date.now()) warnOfEnd(name, certificate, checking);
  const key = isThere('key') ? partAt('key', () => createPrivateKey(tls.key), 'must be a private key as PEM text, -----BEGIN PRIVATE KEY-----, without a passphrase', checking) : undefined;
  if (own === undefined || key === undefined) return;
  if (!own.checkPrivateKey(key)) reject(['peers', 'tls', 'key'], 'must be the key of the certificate in peers.tls.cert, and is another one', checking);
  else partAt('cert', () => createSecureContext(tls), 'must have a key as long as OpenSSL asks for, e.g. RSA of 2048 bits or the curve P-256', checking);
}

/** A host that starts again works on where nobody else is needed. */
function warnOfEnd(name: string, { validToDate }: X509Certificate, { layers, problems }: Checking): void {
  const source = sourceOf(layers, ['peers', 'tls', name])?.name;
  problems.push({ severity: 'warning', path: `peers.tls.${name}`, ...(source !== undefined && { source }), expected: `the certificate ended on ${validToDate.toISOString()}, and hosts refuse each other with it; have a new one signed, and start every host with it again` });
}

function partAt<Part>(name: string, read: () => Part, expected: string, checking: Checking): Part | undefined {
  try {
    return read();
  } catch {
    reject(['peers', 'tls', name], expected, checking);
    return undefined;
  }
}
