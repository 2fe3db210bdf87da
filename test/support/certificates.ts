import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext as Test } from 'node:test';
import type { TlsMaterial } from '../../src/ports/transport.ts';

/** An authority of its own, which signs certificates for hosts by name, and by the IP addresses at which they are reached. */
export function newAuthority(t: Test): (host: string, ...addresses: readonly string[]) => TlsMaterial {
  const folder = mkdtempSync(join(tmpdir(), 'authority-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const path = (file: string): string => join(folder, file);
  const text = (file: string): string => readFileSync(path(file), 'utf8');
  const openssl = (...args: string[]): void => void execFileSync('openssl', args, { stdio: 'ignore', timeout: 20_000 });
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  openssl('req', '-x509', ...newKey, '-days', '2', '-subj', '/CN=authority', '-keyout', path('ca.key'), '-out', path('ca.crt'));
  return (host, ...addresses) => {
    writeFileSync(path(`${host}.ext`), `subjectAltName=${[`DNS:${host}`, ...addresses.map((address) => `IP:${address}`)].join(',')}`);
    openssl('req', ...newKey, '-subj', `/CN=${host}`, '-keyout', path(`${host}.key`), '-out', path(`${host}.csr`));
    openssl('x509', '-req', '-in', path(`${host}.csr`), '-CA', path('ca.crt'), '-CAkey', path('ca.key'), '-CAcreateserial', '-days', '2', '-extfile', path(`${host}.ext`), '-out', path(`${host}.crt`));
    return { cert: text(`${host}.crt`), key: text(`${host}.key`), ca: text('ca.crt') };
  };
}
