import type { Fault } from '../../kernel/fault.ts';

/** What does not work just now though the host runs. */
export interface Trouble {
  /** For operators: with addresses, and what the system says. */
  readonly detail: string;
  /** For whoever asks a port that is open to all: names of the topology, the cause and what to do; no address. */
  readonly plain: string;
}

/** The system's codes for people. */
export const SYSTEM_WORDS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nobody listens there',
  ECONNRESET: 'the connection was cut',
  ETIMEDOUT: 'no answer',
  EHOSTUNREACH: 'there is no way to that machine',
  ENETUNREACH: 'there is no way to that network',
  ENOTFOUND: 'the name is not known',
};

/** Words that come with a failure, and what is said of it in public. */
const CAUSES: readonly (readonly [RegExp, string])[] = [
  [/\bsecret\b/, 'the two have not the same secret (MULTILITH_PEER_SECRET); give both the same.'],
  [/certificate|\bTLS\b|\bSSL\b/, 'the certificate of one is not of the authority that the other trusts (peers.tls).'],
  [/\bstopping\b/, 'it has stopped, or is being started again.'],
  [/answers there/, 'another host answers there. Correct its addresses in the topology.'],
  [/fallen silent|in time|CONNECT_TIMEOUT/, 'it does not answer. Look whether it, or its machine, stands still.'],
  [/no process of it is known/, 'no process of it is known. Start it.'],
  ...Object.entries(SYSTEM_WORDS).map(([code, words]) => [new RegExp(`\\b${code}\\b`), `${words} (${code}). Start it, or correct its addresses in the topology.`] as const),
];
const UNKNOWN_CAUSE = 'the log of this host says why.';

/** One whose words hold no address. */
export function plainly(detail: string): Trouble {
  return { detail, plain: detail };
}

/**
 * That a contract cannot be called. A link says why in free words, with its address and whatever the other side or the
 * system said; in public only what is known here by heart.
 */
export function notCallable(contract: string, host: string, { message, reason }: Fault): Trouble {
  const detail = `${contract}: ${message}`;
  if (reason !== 'not_connected') return plainly(detail);
  const [, cause = UNKNOWN_CAUSE] = CAUSES.find(([words]) => words.test(message)) ?? [];
  return { detail, plain: `${contract}: Host ${host} cannot be reached: ${cause}` };
}

/** That the list of hosts is the last known one. `servers`: of the registry. */
export function registryAway(driver: string, servers: readonly string[]): Trouble {
  const say = (at: string) => `registry: ${driver}${at} does not answer, or came back a moment ago; hosts are called where they were last known to be. Start it, or correct registry.servers.`;
  return { detail: say(` at ${servers.join(', ')}`), plain: say('') };
}

/** That a cache which hosts have in common is not there, or `partly`; by its name in the configuration. */
export function cacheAway(name: string, driver: string, servers: readonly string[], partly: boolean): Trouble {
  const say = (at: string) => `cache ${name}: ${driver}${at} does not answer; each process keeps its own answers only. Start it, or correct caches.${name}.`;
  return { detail: say(` at ${servers.join(', ')}`), plain: say(partly ? ' on some of its servers' : '') };
}
