import { readdirSync, readFileSync } from 'node:fs';

const MOST_MS = 20_000;

/** Stops a process where it is; returns when none of its threads runs any more. It keeps its ports, connections and locks. */
export function freeze(pid: number): void {
  process.kill(pid, 'SIGSTOP');
  // The signal is only on its way: on a busy machine a server answers for some milliseconds more.
  const paused = new Int32Array(new SharedArrayBuffer(4));
  for (const end = Date.now() + MOST_MS; runs(pid); Atomics.wait(paused, 0, 0, 1)) if (Date.now() > end) throw new Error(`process ${pid} does not stop`);
}

export function thaw(pid: number): void {
  process.kill(pid, 'SIGCONT');
}

/** Whether a thread of it is neither stopped (`T`) nor gone; proc_pid_stat(5). */
function runs(pid: number): boolean {
  const tasks = `/proc/${pid}/task`;
  return readdirSync(tasks).some((task) => !/\) [TZX] [^)]*$/.test(statOf(`${tasks}/${task}/stat`)));
}

function statOf(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return ') X '; // It has ended.
  }
}
