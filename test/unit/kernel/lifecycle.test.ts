import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { StartStop } from '../../../src/kernel/lifecycle.ts';

function recorded(): { life: StartStop; steps: string[]; release: () => void } {
  const steps: string[] = [];
  let release!: () => void;
  const gate = new Promise<void>((resolve) => (release = resolve));
  const life = new StartStop(
    async () => {
      steps.push('start');
      await gate;
      steps.push('started');
    },
    () => void steps.push('stop'),
  );
  return { life, steps, release };
}

describe('a lifecycle', () => {
  it('starts once however often it is asked, and stops once', async () => {
    const { life, steps, release } = recorded();
    release();
    await Promise.all([life.start(), life.start()]);
    assert.equal(life.state, 'running');
    await Promise.all([life.stop(100), life.stop(100)]);
    await life.stop(100);
    assert.deepEqual([steps, life.state], [['start', 'started', 'stop'], 'stopped']);
  });

  it('stops before it started without starting', async () => {
    const { life, steps } = recorded();
    await life.stop(100);
    assert.deepEqual([steps, life.state], [[], 'stopped']);
  });

  it('stops in the middle of starting, after what had begun', async () => {
    const { life, steps, release } = recorded();
    const starting = life.start();
    const stopping = life.stop(100);
    setImmediate(release);
    await Promise.all([starting, stopping]);
    assert.deepEqual([steps, life.state], [['start', 'started', 'stop'], 'stopped']);
  });

  it('cleans up after a start that failed', async () => {
    const steps: string[] = [];
    const life = new StartStop(() => Promise.reject(new Error('no')), () => void steps.push('stop'));
    await assert.rejects(life.start(), /no/);
    await life.stop(100);
    assert.deepEqual(steps, ['stop']);
  });
});
