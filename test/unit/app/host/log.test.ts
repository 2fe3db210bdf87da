import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';

const module_ = JSON.stringify(join(import.meta.dirname, '../../../../src/app/host/log.js'));

/** Standard error of a process that logs. */
function logged(level: string, terminal: boolean, code: string): string[] {
  const { stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', `import { createLog } from ${module_}; const log = createLog('${level}', ${terminal}); ${code}; log.flush();`], { encoding: 'utf8' });
  return stderr.trimEnd().split('\n');
}

test('a line is one JSON object with time, level, message and fields', () => {
  const [line, ...more] = logged('info', false, "log.child({ module: 'portal' }).info({ callId: 'c-1', count: 2 }, 'Something happened'); log.debug({}, 'not shown')");
  assert.equal(more.length, 0);
  const { time, pid, ...rest } = JSON.parse(line!) as { time: string; pid: number };
  assert.ok(Math.abs(Date.parse(time) - Date.now()) < 60_000 && pid > 0);
  assert.deepEqual(rest, { level: 'info', module: 'portal', callId: 'c-1', count: 2, msg: 'Something happened' });
});

test('secrets and personal data are not logged, at the top or one level down', () => {
  const names = ['password', 'secret', 'token', 'authorization', 'cookie', 'email', 'attributes', 'payload'];
  const fields = Object.fromEntries(names.map((name) => [name, 'h1dden']));
  for (const terminal of [true, false]) {
    const text = logged('info', terminal, `log.info(${JSON.stringify({ ...fields, request: fields })}, 'A request')`).join('\n');
    assert.ok(text.includes('A request') && !text.includes('h1dden'), text);
  }
});

test('on a terminal an error shows its stack', () => {
  const [first, second] = logged('warn', true, "log.warn({ err: new Error('planted'), queue: 'q' }, 'It broke')");
  assert.match(first!, /^\d\d:\d\d:\d\d\.\d{3} warn {2}It broke queue=q$/);
  assert.match(second!, /Error: planted/);
});

test('a reader of the log who goes away does not end the process', () => {
  const code = `import { createLog } from ${module_}; const log = createLog('info', false); for (let i = 0; i < 20000; i++) log.info({ i }, 'x'.repeat(200)); setTimeout(() => console.log('alive'), 300);`;
  const out = execFileSync('bash', ['-c', `{ ${process.execPath} --input-type=module -e "$CODE" 2>&1 1>&3 | head -1 >/dev/null; } 3>&1`], { env: { ...process.env, CODE: code }, encoding: 'utf8' });
  assert.match(out, /alive/);
});
