import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Bus } from '../../../src/ports/bus.ts';
import { Arrivals, isEmpty, messageTo, onEachBus, queueOf, untilQueue, within } from '../../support/buses.ts';
import { rejectsWith } from '../../support/faults.ts';

/** Keeps the hints of some topics, and lets a test wait for them. */
class Watcher {
  readonly hints: string[] = [];
  readonly stop: () => void;
  gaps = 0;
  #wake = (): void => {};

  constructor(bus: Bus, topics: readonly string[]) {
    this.stop = bus.watch(topics, {
      message: (topic, workspace, payload) => {
        this.hints.push(`${topic} ${workspace} ${payload}`);
        this.#wake();
      },
      gap: () => {
        this.gaps++;
        this.#wake();
      },
    });
  }

  async until(holds: () => boolean): Promise<void> {
    await within(10_000, (async () => { while (!holds()) await new Promise<void>((resolve) => (this.#wake = resolve)); })(), () => `${this.hints.join()}, ${this.gaps} gaps`);
  }
}

/** A bus that is kept elsewhere says a gap once it watches there; one that is kept here watches at once. */
async function watching(bus: Bus, topics: readonly string[]): Promise<Watcher> {
  const watcher = new Watcher(bus, topics);
  if (bus.capabilities.spansHosts) await watcher.until(() => watcher.gaps > 0);
  return watcher;
}

const happened = (payload: string, workspace: string | null = 'w1') => messageTo('', { to: { topic: 'thing.happened' }, workspace, payload });

onEachBus('watch', (under) => {
  test('tells of events as they are published, in order, with or without a queue for them, and not of jobs', async (t) => {
    const bus = await under.open(t);
    await bus.declare(queueOf('q', { topics: ['thing.happened'] }));
    const watcher = await watching(bus, ['thing.happened', 'thing.ended']);
    await bus.publish([happened('1'), messageTo('q'), messageTo('', { to: { topic: 'thing.else' } }), happened('2', null)]);
    await bus.publish([messageTo('', { to: { topic: 'thing.ended' }, payload: '{"text":"\\ud800 ü"}' })]);
    await watcher.until(() => watcher.hints.length === 3);
    assert.deepEqual(watcher.hints, ['thing.happened w1 1', 'thing.happened null 2', 'thing.ended w1 {"text":"\\ud800 ü"}']);
  });

  test('tells nothing of what was refused', async (t) => {
    const bus = await under.open(t);
    const watcher = await watching(bus, ['thing.happened']);
    await rejectsWith('not_found', bus.publish([happened('refused'), messageTo('nowhere')]));
    await bus.publish([happened('taken')]);
    await watcher.until(() => watcher.hints.length === 1);
    assert.deepEqual(watcher.hints, ['thing.happened w1 taken']);
  });

  test('each listener is told of its own topics, and of nothing after it has ended', async (t) => {
    const bus = await under.open(t);
    const one = await watching(bus, ['thing.ended', 'thing.happened']);
    const two = new Watcher(bus, ['thing.happened']);
    await bus.publish([happened('1')]);
    await Promise.all([one.until(() => one.hints.length === 1), two.until(() => two.hints.length === 1)]);
    one.stop();
    one.stop();
    await bus.publish([happened('2')]);
    await two.until(() => two.hints.length === 2);
    assert.equal(one.hints.length, 1);
  });

  test('a listener that throws harms neither the publisher nor the queues', async (t) => {
    const bus = await under.open(t);
    await bus.declare(queueOf('q', { topics: ['thing.happened'] }));
    bus.watch(['thing.happened'], {
      message() {
        throw new TypeError('not today');
      },
      gap() {
        throw new TypeError('nor this');
      },
    });
    const watcher = await watching(bus, ['thing.happened']);
    const arrivals = new Arrivals();
    await bus.consume('q', { concurrency: 1 }, arrivals.handler);
    await bus.publish([happened('1')]);
    await arrivals.count(1);
    await watcher.until(() => watcher.hints.length === 1);
    await untilQueue(bus, 'q', isEmpty);
  });

  test('more than a listener can be brought at once is told as a gap, or comes in full', async (t) => {
    const bus = await under.open(t);
    const watcher = await watching(bus, ['thing.happened']);
    const gapsBefore = watcher.gaps;
    await Promise.all(Array.from({ length: 50 }, (_, i) => bus.publish(Array.from({ length: 100 }, (_, n) => happened(`${i}.${n}`)))));
    await bus.publish([happened('last')]);
    await watcher.until(() => watcher.hints.at(-1) === 'thing.happened w1 last' || watcher.gaps > gapsBefore);
    if (watcher.gaps === gapsBefore) assert.equal(watcher.hints.length, 5_001);
    assert.equal(new Set(watcher.hints).size, watcher.hints.length);
  });

  test('may begin before the bus starts', async (t) => {
    const bus = under.create(t, under.place(t));
    const watcher = new Watcher(bus, ['thing.happened']);
    await bus.start();
    if (bus.capabilities.spansHosts) await watcher.until(() => watcher.gaps > 0);
    await bus.publish([happened('1')]);
    await watcher.until(() => watcher.hints.length === 1);
  });
});
