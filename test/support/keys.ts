import { createPrivateKey, generateKeyPairSync } from 'node:crypto';

/** An RSA key in PEM form that reads like any other. Its modulus is even, so that every signature with it fails. */
export function keyThatCannotSign(): string {
  const { n, ...rest } = generateKeyPairSync('rsa', { modulusLength: 2_048 }).privateKey.export({ format: 'jwk' });
  const modulus = Buffer.from(n!, 'base64url');
  modulus[modulus.length - 1]! &= 0xfe;
  return createPrivateKey({ key: { ...rest, n: modulus.toString('base64url') }, format: 'jwk' }).export({ type: 'pkcs8', format: 'pem' }) as string;
}
