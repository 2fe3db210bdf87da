import { randomBytes } from 'node:crypto';
import { closeSync, fsyncSync, linkSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { BootProblem } from './boot-problem.ts';
import { dataDirProblem } from './data-dir.ts';
import { replaceDurably } from './durable-file.ts';

const FILE = 'installation.json';
const Stored = z.object({
  /** 32 bytes, base64url. */
  secret: z.string().regex(/^[A-Za-z0-9_-]{43}$/),
});

/**
 * The secret that sessions, links and keys are derived from: made at the first start, the same ever after. It is on
 * disk, whole, before this returns. A file that cannot be read is never replaced: a new secret would end every
 * session and break every unsubscribe link that is out there.
 */
export function installationSecret(dataDir: string): Uint8Array {
  const path = join(dataDir, FILE);
  const text = readIfThere(path);
  if (text === undefined) return create(dataDir, path);
  const stored = Stored.safeParse(parseJson(text));
  if (stored.success) return Buffer.from(stored.data.secret, 'base64url');
  throw new BootProblem(`${path} is damaged.`, 'Restore it from a backup. Deleting it makes a new secret, which ends all sessions and breaks the unsubscribe links of mails already sent.');
}

/** What the data directory keeps of it, as it stands there; undefined before the first start. For whoever takes it elsewhere. */
export function installationText(dataDir: string): string | undefined {
  return readIfThere(join(dataDir, FILE));
}

/** Makes the data directory one of an installation that there is already. */
export function writeInstallation(dataDir: string, text: string): Promise<void> {
  return replaceDurably(join(dataDir, FILE), text);
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return undefined;
    throw new BootProblem(`${path} cannot be read (${code}).`, 'Give this user the right to read it.', error);
  }
}

function create(dataDir: string, path: string): Uint8Array {
  const secret = randomBytes(32);
  const draft = `${path}.${process.pid}`;
  try {
    writeDurably(draft, `${JSON.stringify({ secret: secret.toString('base64url') })}\n`);
    linkSync(draft, path);
    syncFolder(dataDir);
    return secret;
  } catch (error) {
    // Another host of this machine, started at the same moment, was quicker.
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return installationSecret(dataDir);
    throw dataDirProblem(dataDir, error);
  } finally {
    rmSync(draft, { force: true });
  }
}

function writeDurably(path: string, text: string): void {
  const file = openSync(path, 'w', 0o600);
  try {
    writeSync(file, text);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

function syncFolder(path: string): void {
  const folder = openSync(path, 'r');
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
