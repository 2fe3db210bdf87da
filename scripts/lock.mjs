import { closeSync, mkdirSync, openSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync, writeSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { watchChildren } from './children.mjs';
import { toolchain } from './paths.mjs';
import { Problem, say } from './progress.mjs';

const file = join(toolchain, 'set-up.lock');
const takeover = `${file}.takeover`;
const me = `${hostname()} ${process.pid}`;
const beatMs = 2_000;
const deadAfterMs = 30_000;
const giveUpAfterMs = 20 * 60_000;

/**
 * One set-up at a time in a folder. The lock file holds the machine, the process, and the processes it started: an npm
 * that outlives a killed set-up still writes to node_modules. The holder touches the file every two seconds. A lock
 * belongs to nobody, and is taken over, when what it started has ended and it is gone itself or silent for thirty seconds.
 */
export async function withLock(work) {
  mkdirSync(toolchain, { recursive: true });
  await acquire();
  watchChildren((pids) => owned() && writeFileSync(file, [me, ...pids].join(' ')));
  const beat = setInterval(touch, beatMs);
  process.once('exit', release);
  try {
    return await work();
  } finally {
    clearInterval(beat);
    watchChildren(() => {});
    process.removeListener('exit', release);
    release();
  }
}

async function acquire() {
  const startedAt = Date.now();
  for (let told = false; !create(file); told = true) {
    const holder = read();
    if (!told && holder) say(`Another set-up is under way here (${holder}); waiting for it …`);
    if (isAbandoned(holder)) clearAbandoned();
    else await new Promise((resolve) => setTimeout(resolve, 200));
    if (Date.now() - startedAt > giveUpAfterMs) throw new Problem(`${file} has been held for 20 minutes by ${holder}.`, 'If no set-up is running, delete that file and run the same command again.');
  }
}

/** Only one of those who see the same abandoned lock may remove it, and only after looking again. */
function clearAbandoned() {
  if (!create(takeover)) {
    if (ageMs(takeover) > deadAfterMs) rmSync(takeover, { force: true });
    return;
  }
  try {
    if (isAbandoned(read())) rmSync(file, { force: true });
  } finally {
    rmSync(takeover, { force: true });
  }
}

function isAbandoned(holder) {
  const silent = ageMs(file) > deadAfterMs;
  const [host, pid, ...started] = holder.split(' ');
  if (host !== hostname()) return silent;
  return !started.some(isAlive) && (silent || !isAlive(pid));
}

function isAlive(pid) {
  try {
    process.kill(Number(pid), 0);
    return true;
  } catch (error) {
    return error.code !== 'ESRCH';
  }
}

function create(path) {
  try {
    const fd = openSync(path, 'wx');
    writeSync(fd, me);
    closeSync(fd);
    return true;
  } catch (error) {
    if (error.code === 'EEXIST') return false;
    throw new Problem(`${path} cannot be written: ${error.message}`, 'The project folder must be writable for the first start; afterwards only data/ must be.');
  }
}

function read() {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}

function ageMs(path) {
  try {
    return Date.now() - statSync(path).mtimeMs;
  } catch {
    return 0;
  }
}

function touch() {
  const now = new Date();
  try {
    utimesSync(file, now, now);
  } catch {
    // Deleted by hand: the next set-up may begin while this one ends, which npm and tsc survive.
  }
}

function release() {
  if (owned()) rmSync(file, { force: true });
}

function owned() {
  const holder = read();
  return holder === me || holder.startsWith(`${me} `);
}
