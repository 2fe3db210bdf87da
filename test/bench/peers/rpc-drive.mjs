import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

/*
 * The one way in which everything that calls between two processes is driven. Each is a program of two roles: run
 * plainly it forks itself as the server, then measures whenever its parent asks.
 */

/** 1 KB as JSON, in the shape of what modules ask each other. */
export const VALUE = {
  deliveryId: '0190e1a0-7b1c-7000-8000-0123456789ab',
  workspace: 'w-0123456789',
  person: { personId: '0190e1a0-7b1c-7000-8000-ba9876543210', email: 'somebody@example.org', timeZone: 'Europe/Zurich', language: 'de' },
  channel: 'email',
  state: 'sent',
  attempts: 1,
  at: 1_789_000_000_000,
  tags: ['renewal', 'auto', 'spring'],
  open: true,
  history: Array.from({ length: 4 }, (_, i) => ({ at: 1_789_000_000_000 + i, state: 'queued', note: 'x'.repeat(60), by: 'system' })),
  text: 'y'.repeat(200),
};

/** The server's role; `serve` answers where it is to be reached. */
export async function server(serve) {
  if (process.argv[2] !== 'serve') return;
  process.on('disconnect', () => process.exit(0));
  process.send(await serve());
  await new Promise(() => {});
}

/** The caller's role: `connect` gets what `serve` answered, and answers the function that calls once. */
export async function caller(url, connect) {
  const child = fork(fileURLToPath(url), ['serve'], { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
  const [where] = await once(child, 'message');
  const call = await connect(where);
  const answer = await call(VALUE);
  if (JSON.stringify(answer) !== JSON.stringify(VALUE)) throw new Error(`not the echo: ${JSON.stringify(answer)}`);
  process.on('message', async ({ calls, inFlight }) => process.send(await measure(call, calls, inFlight)));
  process.on('disconnect', () => process.exit(0));
  process.send('ready');
}

/** Calls per second, and the times of single calls in microseconds. */
async function measure(call, calls, inFlight) {
  const times = new Float64Array(calls);
  let next = 0;
  const began = performance.now();
  await Promise.all(
    Array.from({ length: inFlight }, async () => {
      while (next < calls) {
        const mine = next++;
        const at = performance.now();
        await call(VALUE);
        times[mine] = performance.now() - at;
      }
    }),
  );
  const perSecond = (calls * 1_000) / (performance.now() - began);
  times.sort();
  return { perSecond, p50: times[Math.floor(calls * 0.5)] * 1_000, p99: times[Math.floor(calls * 0.99)] * 1_000 };
}
