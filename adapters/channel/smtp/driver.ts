import { z } from 'zod';
import type { Driver } from '../../../src/kernel/driver.ts';
import type { Channel } from '../../../src/ports/channel.ts';
import { isLoopback } from './loopback.ts';
import { SmtpChannel } from './smtp-channel.ts';

const Dkim = z.strictObject({
  /** The `d=` of the signature; for DMARC the domain of the sender's address, or one above it. */
  domain: z.string().min(3).max(253),
  /** The key's record is `<selector>._domainkey.<domain>`. */
  selector: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/),
  /** PEM (PKCS #8 or PKCS #1): RSA of 1024 bits or more, or Ed25519. */
  privateKey: z.string().min(1),
});

export const SmtpSettings = z
  .strictObject({
    host: z.string().min(1).max(253),
    port: z.int().min(1).max(65_535).default(587),
    /**
     * `tls`: from the first byte (port 465). `starttls`: nothing is sent without it. `auto`: STARTTLS where the server
     * offers it, and required where a password would else cross the network in the clear. `none`: never.
     */
    security: z.enum(['auto', 'starttls', 'tls', 'none']).default('auto'),
    /** Refuse a server whose certificate does not prove its name. */
    verifyCertificate: z.boolean().default(true),
    username: z.string().min(1).optional(),
    password: z.string().min(1).optional(),
    /** The name to say hello with; left out: the machine's, where it is a full one. */
    clientName: z.string().min(1).max(253).optional(),
    /** Connections open at once, at most. */
    connections: z.int().min(1).max(500).default(20),
    /** A connection is closed after so many messages. */
    messagesPerConnection: z.int().min(1).default(10_000),
    /** A connection is closed after so long without a message; servers close theirs after a minute or more. */
    idleMs: z.int().min(100).default(20_000),
    /** From dialling to being ready for a message: name, TCP, greeting, TLS, login. */
    connectTimeoutMs: z.int().min(10).default(30_000),
    /** The answers to sender and recipient. RFC 5321 asks for five minutes; whoever needs as many is as good as away. */
    commandTimeoutMs: z.int().min(10).default(60_000),
    /** Handing over a message and the answer to it. RFC 5321 asks for ten minutes: ending earlier risks a mail twice. */
    messageTimeoutMs: z.int().min(10).default(600_000),
    /** After failures to connect in a row the channel rests; the first rest is so long, and doubles up to `restMostMs`. */
    restFirstMs: z.int().min(10).default(1_000),
    restMostMs: z.int().min(10).default(60_000),
    /** Signs every message (RFC 6376, RFC 8463). Left out: the relay signs, or nobody does. */
    dkim: Dkim.optional(),
  })
  .refine((settings) => (settings.username === undefined) === (settings.password === undefined), { error: 'username and password go together', path: ['password'] })
  .refine((settings) => settings.username === undefined || settings.security !== 'none' || isLoopback(settings.host), { error: 'a password needs TLS: use auto, starttls or tls', path: ['security'] });
export type SmtpSettings = z.infer<typeof SmtpSettings>;

/** Hands mails to an SMTP server over a pool of lasting connections. */
export const smtp: Driver<SmtpSettings, Channel> = {
  name: 'smtp',
  settings: SmtpSettings,
  create: (settings, { clock, log, metrics }) => new SmtpChannel(settings, clock, log, metrics),
};
