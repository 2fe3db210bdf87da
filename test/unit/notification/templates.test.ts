import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { TemplateNews } from '../../../modules/notification/templates/template-news.ts';
import { Templates } from '../../../modules/notification/templates/templates.ts';
import { type Portal, templatePublished } from '../../../modules/portal/contract.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import { Listeners } from '../../../src/ports/listeners.ts';
import { silentLog } from '../../support/context.ts';
import { FakeClock } from '../../support/fake-clock.ts';

const MILLION = 1_000_000;
const unnoted = { note: async () => {} };

/** Templates over a portal in memory whose ids say how many characters each has: `a:3000000`. */
function templates(): { templates: Templates; fetched: string[]; clock: FakeClock } {
  const fetched: string[] = [];
  const portal: Portal = {
    getRecipients: async () => ({ people: [], merged: {} }),
    getTemplate: async ({ templateId }) => {
      fetched.push(templateId);
      if (templateId === 'missing') throw new Fault('not_found', 'No such template.', { reason: 'template_not_found' });
      return { templateId, name: templateId, version: 1, compiled: { subject: '', html: 'x'.repeat(Number(templateId.split(':')[1])), text: '', from: null } };
    },
  };
  const clock = new FakeClock();
  return { templates: new Templates(portal, clock, unnoted), fetched, clock };
}

describe('templates in memory', () => {
  it('are kept while they are used, for a minute, and until a new version is published', async () => {
    const { templates: kept, fetched, clock } = templates();
    for (let i = 0; i < 3; i++) await kept.published('w1', 'a:10');
    assert.equal(fetched.length, 1);
    await kept.published('w2', 'a:10');
    kept.drop('w1', 'a:10', 1);
    await kept.published('w2', 'a:10');
    assert.equal(fetched.length, 2);
    await kept.published('w1', 'a:10');
    await clock.advance(60_000);
    await kept.published('w1', 'a:10');
    assert.equal(fetched.length, 4);
  });

  it('are of so many characters at most: the longest unused go first', async () => {
    const { templates: kept, fetched } = templates();
    for (let i = 0; i < 10; i++) await kept.published('w1', `${i}:${3 * MILLION}`);
    await kept.published('w1', `0:${3 * MILLION}`);
    assert.equal(fetched.length, 10, 'ten fit');
    await kept.published('w1', `10:${3 * MILLION}`);
    await kept.published('w1', `0:${3 * MILLION}`);
    assert.equal(fetched.length, 11, 'what was used lately is kept');
    await kept.published('w1', `1:${3 * MILLION}`);
    assert.equal(fetched.length, 12, 'what was not is fetched anew');
  });

  it('count no longer once they are dropped, replaced or were never found', async () => {
    const { templates: kept, fetched, clock } = templates();
    for (let i = 0; i < 30; i++) {
      await kept.published('w1', `big:${3 * MILLION}`);
      if (i % 2 === 0) kept.drop('w1', `big:${3 * MILLION}`, 1);
      else await clock.advance(60_000);
      await assert.rejects(kept.published('w1', 'missing'), { reason: 'template_not_found' });
    }
    fetched.length = 0;
    for (let i = 0; i < 10; i++) await kept.published('w1', `${i}:${3 * MILLION}`);
    for (let i = 0; i < 10; i++) await kept.published('w1', `${i}:${3 * MILLION}`);
    assert.equal(fetched.length, 10);
  });

  it('that are dropped while they are fetched are not kept', async () => {
    const { templates: kept, fetched } = templates();
    const first = kept.published('w1', 'a:10');
    kept.drop('w1', 'a:10', 1);
    await first;
    await kept.published('w1', 'a:10');
    assert.equal(fetched.length, 2);
  });

  it('are fetched anew, in every process that hears of a new version, or that may have missed one', async () => {
    const listeners = new Listeners(silentLog);
    const { templates: kept, fetched } = templates();
    const news = new TemplateNews({ capabilities: { spansHosts: false }, watch: (topics, listener) => listeners.add(topics, listener) }, kept, new FakeClock());
    await news.start();
    for (let i = 0; i < 10; i++) await kept.published('w1', `${i}:${3 * MILLION}`);
    listeners.message(templatePublished.name, 'w1', JSON.stringify({ templateId: `1:${3 * MILLION}`, version: 1 }));
    for (let i = 0; i < 10; i++) await kept.published('w1', `${i}:${3 * MILLION}`);
    assert.equal(fetched.length, 11);
    listeners.gap();
    for (let round = 0; round < 2; round++) for (let i = 0; i < 10; i++) await kept.published('w1', `${i}:${3 * MILLION}`);
    assert.equal(fetched.length, 21);
    await news.stop(100);
    assert.deepEqual(listeners.topics, []);
  });

  it('are not fetched before a bus that is kept elsewhere tells of new versions, or for a second without it', async () => {
    for (const begins of [true, false]) {
      const listeners = new Listeners(silentLog);
      const clock = new FakeClock();
      const news = new TemplateNews({ capabilities: { spansHosts: true }, watch: (topics, listener) => listeners.add(topics, listener) }, templates().templates, clock);
      let isStarted = false;
      const started = news.start().then(() => (isStarted = true));
      await clock.advance(900);
      assert.equal(isStarted, false);
      if (begins) listeners.gap();
      else await clock.advance(100);
      await started;
      await news.stop(100);
    }
  });

  it('are of the version that was published, also when a cache in between answers with the one before', async () => {
    const answer = (version: number) => ({ templateId: 'a', name: 'a', version, compiled: { subject: '', html: '', text: '', from: null } });
    const portal: Portal = { getRecipients: async () => ({ people: [], merged: {} }), getTemplate: async ({ version }) => answer(version ?? 1) };
    const kept = new Templates(portal, new FakeClock(), unnoted);
    assert.equal((await kept.published('w1', 'a')).version, 1);
    kept.drop('w1', 'a', 3);
    kept.drop('w1', 'a', 2);
    assert.equal((await kept.published('w1', 'a')).version, 3);
    assert.equal((await kept.published('w2', 'a')).version, 1);
  });
});
