import pino from 'pino';
import type { Log } from '../../kernel/telemetry.ts';

/** From the least to the most important. */
export const LEVELS = ['debug', 'info', 'warn', 'error'] as const;
export type Level = (typeof LEVELS)[number];

/** The log of this process, and how to make sure that its last words are written. */
export interface HostLog extends Log {
  flush(): void;
}

/** Names under which a secret or a person's data could slip into a field. */
const NEVER_LOGGED = ['password', 'secret', 'token', 'authorization', 'cookie', 'apiKey', 'writeKey', 'email', 'to', 'address', 'payload', 'attributes', 'traits', 'properties', 'raw'];

/** What is kept while standard error takes nothing; beyond it lines are dropped rather than memory used up. */
const MAX_PENDING_BYTES = 8 * 1024 * 1024;

/** One JSON object a line on standard error; standard output is for what people read. On a terminal, words. */
export function createLog(level: Level, terminal: boolean): HostLog {
  const destination = pino.destination({ fd: 2, sync: false, maxLength: MAX_PENDING_BYTES });
  // Standard error may be a closed pipe or a full disk: no reason to stop sending mail.
  destination.on('error', () => {});
  const root = pino(
    { level, base: { pid: process.pid }, timestamp: pino.stdTimeFunctions.isoTime, formatters: { level: (label) => ({ level: label }) }, redact: { paths: NEVER_LOGGED.flatMap((name) => [name, `*.${name}`]), censor: '[redacted]' } },
    terminal ? { write: (line: string) => void destination.write(inWords(line)) } : destination,
  );
  return { ...wrap(root), flush: () => destination.flushSync() };
}

function wrap(logger: pino.Logger): Log {
  return {
    debug: (fields, message) => logger.debug(fields, message),
    info: (fields, message) => logger.info(fields, message),
    warn: (fields, message) => logger.warn(fields, message),
    error: (fields, message) => logger.error(fields, message),
    child: (fields) => wrap(logger.child(fields)),
  };
}

/** `09:41:07.123 warn  Message  key=value …`, and the stack of an error below it. */
function inWords(line: string): string {
  const { time, level, msg, pid: _, err, ...fields } = JSON.parse(line) as { time: string; level: string; msg: string; pid: number; err?: { stack?: string; message?: string } };
  const rest = Object.entries(fields).map(([key, value]) => ` ${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`);
  const stack = err === undefined ? '' : `\n  ${(err.stack ?? err.message ?? '').replaceAll('\n', '\n  ')}`;
  return `${time.slice(11, 23)} ${level.padEnd(5)} ${msg}${rest.join('')}${stack}\n`;
}
