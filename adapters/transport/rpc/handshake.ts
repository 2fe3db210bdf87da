import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { z } from 'zod';
import type { Identity, Introduction } from '../../../src/ports/transport.ts';
import type { RpcSettings } from './settings.ts';

/*
 * Two frames each way: the caller opens, the server challenges, the caller introduces itself and proves that it knows
 * the secret, the server does the same. Nobody learns anything of a server without knowing the secret, and the secret
 * itself never leaves: a proof is an HMAC over both sides' random numbers, the side's role and its introduction.
 */
export const PROTOCOL = 1;
const NONCE_BYTES = 32;

const Opening = z.object({ protocol: z.int(), nonce: z.string().min(16).max(128), secret: z.boolean() });
const Proved = z.object({ introduction: z.string(), proof: z.string().max(128), maxFrameBytes: z.int().min(1) });
const Welcome = Proved.extend({ windowCalls: z.int().min(1), windowBytes: z.int().min(1) });
const Refused = z.object({ refused: z.string().max(1_000) });
const IntroductionText = z.object({ host: z.string(), process: z.string(), contracts: z.record(z.string(), z.string()) });

/** What this side grants or was granted. */
export interface Agreed {
  readonly peer: Introduction;
  /** The longest frame that the other side takes. */
  readonly maxFrameBytes: number;
}

export interface Granted extends Agreed {
  readonly windowCalls: number;
  readonly windowBytes: number;
}

/** The handshake has failed for a reason that people must see to. */
export class Refusal extends Error {}

/** What either side has: who it is, and both random numbers, the other's once it has told it. */
abstract class Handshake {
  protected readonly identity: Identity;
  protected readonly settings: RpcSettings;
  protected readonly send: (content: object) => void;
  protected readonly nonce = newNonce();
  protected theirs: string | undefined;

  constructor(identity: Identity, settings: RpcSettings, send: (content: object) => void) {
    this.identity = identity;
    this.settings = settings;
    this.send = send;
  }
}

/** The calling side's part. */
export class CallerHandshake extends Handshake {
  constructor(identity: Identity, settings: RpcSettings, send: (content: object) => void) {
    super(identity, settings, send);
    send({ protocol: PROTOCOL, nonce: this.nonce, secret: identity.secret !== null });
  }

  /**
   * Takes the server's next frame; answers what was agreed once it is the last.
   * @throws Refusal
   */
  take(content: unknown): Granted | undefined {
    const refused = Refused.safeParse(content);
    if (refused.success) throw new Refusal(refused.data.refused);
    if (this.theirs !== undefined) return this.#finish(checked(Welcome, content));
    const { protocol, nonce, secret } = checked(Opening, content);
    if (protocol !== PROTOCOL) throw new Refusal(`The other side speaks version ${protocol} of the protocol, this one ${PROTOCOL}: run the same build on both.`);
    if (secret && this.identity.secret === null) throw new Refusal('The other side asks for a secret, and none is configured here: give both the same.');
    if (!secret && this.identity.secret !== null) throw new Refusal('The other side has no secret configured, and this one has: give both the same.');
    this.theirs = nonce;
    this.send(proved(this.identity, this.settings, 'caller', this.nonce, nonce));
    return undefined;
  }

  #finish({ introduction, proof, maxFrameBytes, windowCalls, windowBytes }: z.infer<typeof Welcome>): Granted {
    if (!isProof(proof, this.identity.secret, 'server', this.nonce, this.theirs!, introduction)) throw new Refusal('The other side does not know the secret that is configured here: give both the same.');
    return { peer: introductionOf(introduction), maxFrameBytes, windowCalls, windowBytes };
  }
}

/** The serving side's part. */
export class ServerHandshake extends Handshake {
  /**
   * Takes the caller's next frame; answers what was agreed once it is the last.
   * @throws Refusal after telling the caller why.
   */
  take(content: unknown): Agreed | undefined {
    try {
      return this.theirs === undefined ? this.#challenge(checked(Opening, content)) : this.#finish(checked(Proved, content));
    } catch (error) {
      if (error instanceof Refusal) this.send({ refused: error.message });
      throw error;
    }
  }

  #challenge({ protocol, nonce, secret }: z.infer<typeof Opening>): undefined {
    if (protocol !== PROTOCOL) throw new Refusal(`The serving side speaks version ${PROTOCOL} of the protocol, the calling side ${protocol}: run the same build on both.`);
    const expected = this.identity.secret !== null;
    if (expected && !secret) throw new Refusal('The serving side asks for a secret, and none is configured on the calling side: give both the same.');
    if (!expected && secret) throw new Refusal('The serving side has no secret configured, and the calling side has: give both the same.');
    this.theirs = nonce;
    this.send({ protocol: PROTOCOL, nonce: this.nonce, secret: expected });
  }

  #finish({ introduction, proof, maxFrameBytes }: z.infer<typeof Proved>): Agreed {
    if (!isProof(proof, this.identity.secret, 'caller', this.theirs!, this.nonce, introduction)) throw new Refusal('The calling side does not know the secret of the serving side: give both the same.');
    const agreed = { peer: introductionOf(introduction), maxFrameBytes };
    const { windowCalls, windowBytes } = this.settings;
    this.send({ ...proved(this.identity, this.settings, 'server', this.theirs!, this.nonce), windowCalls, windowBytes });
    return agreed;
  }
}

type Role = 'caller' | 'server';

function proved({ introduction, secret }: Identity, { maxFrameBytes }: RpcSettings, role: Role, callers: string, servers: string): z.infer<typeof Proved> {
  const text = JSON.stringify(introduction);
  return { introduction: text, proof: secret === null ? '' : proofOf(secret, role, callers, servers, text).toString('base64'), maxFrameBytes };
}

function proofOf(secret: string, role: Role, callers: string, servers: string, introduction: string): Buffer {
  return createHmac('sha256', secret).update(['multilith-rpc', PROTOCOL, role, callers, servers, introduction].join('\n')).digest();
}

function isProof(proof: string, secret: string | null, role: Role, callers: string, servers: string, introduction: string): boolean {
  if (secret === null) return true;
  const expected = proofOf(secret, role, callers, servers, introduction);
  const given = Buffer.from(proof, 'base64');
  return given.length === expected.length && timingSafeEqual(given, expected);
}

function newNonce(): string {
  return randomBytes(NONCE_BYTES).toString('base64');
}

function introductionOf(text: string): Introduction {
  try {
    return IntroductionText.parse(JSON.parse(text));
  } catch {
    throw new Refusal('The other side introduces itself in a way that this build does not know: run the same build on both.');
  }
}

function checked<T>(schema: z.ZodType<T>, content: unknown): T {
  const parsed = schema.safeParse(content);
  if (!parsed.success) throw new Refusal('The other side began in a way that this build does not know: run the same build on both.');
  return parsed.data;
}
