import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { BootProblem } from '../../../../src/app/host/boot-problem.ts';
import { LocalServer, type Patience, type ServerProgram } from '../../../../src/app/servers/local-server.ts';
import type { Log } from '../../../../src/kernel/telemetry.ts';
import { freePort } from '../../../support/server-process.ts';
import { fill, grow, tmpfs } from '../../../support/tmpfs.ts';

const QUICK: Patience = { startMs: 20_000, restFirstMs: 20, restMostMs: 60, lookMs: 50, muteLooks: 3 };

interface Line {
  readonly message: string;
  readonly restMs?: number;
}

/** A server that writes down its process ids and listens, unless its code does otherwise. */
async function serverOf(t: TestContext, { code = 'require("node:net").createServer(() => {}).listen(Number(process.env.PORT), "127.0.0.1")', patience = QUICK, ...more }: { code?: string; patience?: Patience } & Partial<ServerProgram> = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'multilith-local-server-'));
  const port = await freePort();
  const pids = join(folder, 'pids');
  const lines: Line[] = [];
  const write = (fields: object, message?: string) => void lines.push({ ...fields, message: String(message) });
  const log: Log = { debug: write, info: write, warn: write, error: write, child: () => log };
  const server = new LocalServer(
    {
      name: 'Example',
      directory: folder,
      command: [process.execPath, '-e', `require("node:fs").appendFileSync(process.env.PIDS, process.pid + "\\n");${code}`],
      env: { PORT: String(port), PIDS: pids },
      answers: () => new Promise((resolve) => {
        const socket = connect(port, '127.0.0.1', () => resolve((socket.destroy(), true))).on('error', () => resolve(false));
      }),
      ...more,
    },
    log,
    patience,
  );
  t.after(async () => {
    await server.stop(1_000);
    rmSync(folder, { recursive: true });
  });
  return { server, lines, port, started: () => (existsSync(pids) ? readFileSync(pids, 'utf8').trim().split('\n').map(Number) : []) };
}

async function until(what: () => boolean): Promise<void> {
  for (const end = Date.now() + 20_000; !what(); await new Promise((resolve) => setTimeout(resolve, 10))) if (Date.now() > end) throw new Error('it has not come about');
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

test('a server serves when its start is over, and is gone when its stop is', async (t) => {
  const { server, started } = await serverOf(t);
  await Promise.all([server.start(), server.start()]);
  const [pid, ...more] = started();
  assert.deepEqual([isAlive(pid!), more], [true, []]);
  await server.stop(5_000);
  assert.equal(isAlive(pid!), false);
});

test('one that ends before it serves is a problem that tells what it said, without the places in its code', async (t) => {
  const { server } = await serverOf(t, { code: 'console.error("no room for a journal\\n\\tat org.example.Journal(Journal.java:7)\\n\\t... 3 more"); process.exit(1)' });
  await assert.rejects(server.start(), (error) => error instanceof BootProblem && /Example ended/.test(error.message) && error.remedy.endsWith('no room for a journal'));
});

test('one that never serves is given up and ended', async (t) => {
  const { server, started } = await serverOf(t, { code: 'setInterval(() => {}, 1e6)', patience: { ...QUICK, startMs: 300 } });
  await assert.rejects(server.start(), BootProblem);
  await until(() => !isAlive(started()[0]!));
});

test('one that dies is started again; while it does not serve its rests grow, and shrink once it has', async (t) => {
  const { server, lines, started } = await serverOf(t, { code: `
    const lives = require("node:fs").readFileSync(process.env.PIDS, "utf8").trim().split("\\n").length;
    if (lives > 1 && lives < 5) process.exit(lives);
    require("node:net").createServer(() => {}).listen(Number(process.env.PORT), "127.0.0.1");` });
  await server.start();
  process.kill(started()[0]!, 'SIGKILL');
  await until(() => lines.some(({ message }) => /serves again/.test(message)));
  process.kill(started()[4]!, 'SIGKILL');
  await until(() => lines.filter(({ message }) => /serves again/.test(message)).length === 2);
  assert.deepEqual(lines.flatMap(({ restMs }) => (restMs === undefined ? [] : [restMs])), [20, 40, 60, 60, 20]);
});

test('one whose disk is full is not started until there is room, which is told; a first start on such a disk is a problem', async (t) => {
  const disk = tmpfs(t, '80m');
  const { server, lines, started } = await serverOf(t, { directory: disk });
  await server.start();
  assert.equal(server.problem, undefined);
  fill(disk);
  process.kill(started()[0]!, 'SIGKILL');
  await until(() => lines.some(({ message }) => /64 MB are free/.test(message)));
  assert.match(server.problem!, /^Example of this machine has not served for \d+ s: .* has 0 MB free\. Make room/);
  assert.equal(started().length, 1);
  const another = await serverOf(t, { directory: disk });
  await assert.rejects(another.server.start(), (error) => error instanceof BootProblem && error.message.includes(disk) && /64 MB/.test(error.remedy));
  grow(disk, '160m');
  await until(() => server.problem === undefined);
  assert.equal(started().length, 2);
});

test('one that runs and does not answer is told of, and killed and started again where it stays so and may be, or says that it must not go on', async (t) => {
  let isMute = false;
  const answers = () => Promise.resolve(!isMute);
  const [replaced, kept] = [await serverOf(t, { answers, endsMute: true }), await serverOf(t, { answers })];
  await Promise.all([replaced.server.start(), kept.server.start()]);
  await until(() => replaced.started().length + kept.started().length === 2);
  isMute = true;
  await until(() => replaced.started().length === 2 && /Look at its log/.test(kept.server.problem ?? ''));
  isMute = false;
  await until(() => replaced.server.problem === undefined && kept.server.problem === undefined);
  assert.equal(isAlive(replaced.started()[0]!), false);
  assert.deepEqual([kept.started().length, isAlive(kept.started()[0]!)], [1, true]);
  const last = await serverOf(t, { endsSaying: /all is lost/, code: 'console.log("all is lost"); setInterval(() => {}, 1e6)', answers: () => Promise.resolve(true) });
  await last.server.start();
  await until(() => last.started().length > 1);
  for (const { lines } of [replaced, kept]) assert.equal(lines.filter(({ message }) => /runs, and does not answer/.test(message)).length, 1);
});

test('a stop ends one that is starting, one that rests, and one that takes no notice', async (t) => {
  const starting = await serverOf(t, { code: 'setInterval(() => {}, 1e6)' });
  const start = starting.server.start();
  await until(() => starting.started().length === 1);
  await starting.server.stop(5_000);
  await start;
  assert.equal(isAlive(starting.started()[0]!), false);

  const resting = await serverOf(t, { patience: { ...QUICK, restFirstMs: 60_000, restMostMs: 60_000 } });
  await resting.server.start();
  process.kill(resting.started()[0]!, 'SIGKILL');
  await until(() => resting.lines.some(({ restMs }) => restMs !== undefined));
  await resting.server.stop(5_000);
  assert.equal(resting.started().length, 1);

  const deaf = await serverOf(t, { code: 'process.on("SIGTERM", () => {}); require("node:net").createServer(() => {}).listen(Number(process.env.PORT), "127.0.0.1")' });
  await deaf.server.start();
  await deaf.server.stop(100);
  assert.equal(isAlive(deaf.started()[0]!), false);
});
