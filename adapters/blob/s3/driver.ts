import { z } from 'zod';
import type { Driver } from '../../../src/kernel/driver.ts';
import type { Blobs } from '../../../src/ports/blob.ts';
import { S3Blobs } from './s3-blobs.ts';

export const S3Settings = z.strictObject({
  /** Of the server, e.g. https://s3.eu-central-1.amazonaws.com; the bucket is named in the path. */
  endpoint: z.url({ protocol: /^https?$/, error: 'must be an http or https URL, e.g. https://s3.eu-central-1.amazonaws.com' }),
  region: z.string().min(1).default('us-east-1'),
  /** It must be there. */
  bucket: z.string().regex(/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/, 'must be the name of a bucket: small letters, digits, dots and hyphens'),
  /** Stands before each key, so that a bucket may hold other things too. */
  prefix: z.string().regex(/^(?:[a-z0-9][a-z0-9.-]*\/)*$/, 'must be parts of small letters, digits, dots and hyphens, each with a slash behind it, e.g. multilith/').default(''),
  accessKeyId: z.string().min(1),
  secretAccessKey: z.string().min(1),
  /** Bytes that are held until they can be sent in one piece; a blob has 10,000 pieces at most. */
  partBytes: z.int().min(5_242_880).max(104_857_600).default(8_388_608),
  /** The most that the server may take to answer, or between two pieces of what it sends. */
  answerTimeoutMs: z.int().min(100).max(600_000).default(30_000),
});
export type S3Settings = z.infer<typeof S3Settings>;

/** A bucket of Amazon S3, or of a server that speaks its language (signature version 4). */
export const s3: Driver<S3Settings, Blobs> = {
  name: 's3',
  settings: S3Settings,
  create: (settings) => new S3Blobs(settings),
};
