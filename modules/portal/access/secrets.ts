import { createHash, hkdfSync, randomBytes, timingSafeEqual } from 'node:crypto';

/** 256 random bits, URL-safe. */
export function newSecret(): string {
  return randomBytes(32).toString('base64url');
}

/** What the database keeps of a secret. A plain hash is enough for 256 random bits: there is nothing to guess. */
export function hashOfSecret(secret: string): string {
  return createHash('sha256').update(secret).digest('hex');
}

/** A key of its own for each purpose, from the installation's secret (HKDF, RFC 5869). */
export function deriveKey(installationSecret: Uint8Array, purpose: string): Buffer {
  return Buffer.from(hkdfSync('sha256', installationSecret, '', `multilith.portal.${purpose}`, 32));
}

/** Takes the same time wherever the two differ. */
export function sameText(a: string, b: string): boolean {
  const [left, right] = [createHash('sha256').update(a).digest(), createHash('sha256').update(b).digest()];
  return timingSafeEqual(left, right);
}
