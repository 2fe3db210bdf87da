import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { Renderer } from '../../../modules/notification/render/renderer.ts';
import { TemplateUses } from '../../../modules/notification/templates/template-uses.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import type { Log } from '../../../src/kernel/telemetry.ts';
import { silentLog } from '../../support/context.ts';
import { compiled, notificationRig, type NotificationRig, type NotificationRigOptions, person, type PortalData, WORKSPACE } from '../../support/notification-rig.ts';

const DAY_MS = 24 * 3_600_000;

/** One installation over several starts of notification: its data, and a portal that stays the same. */
class Restarts {
  readonly portal: PortalData = { people: new Map([['ada', person('ada')]]), merged: new Map(), templates: new Map(), calls: [], away: null };
  readonly warnings: { readonly message: string; readonly [field: string]: unknown }[] = [];
  readonly #dataDir = mkdtempSync(join(tmpdir(), 'multilith-'));
  #rig: NotificationRig | undefined;

  constructor(t: TestContext) {
    this.portal.templates.set('t1', { version: 3, compiled: compiled() });
    t.after(async () => {
      await this.stop();
      rmSync(this.#dataDir, { recursive: true, force: true });
    });
  }

  /** Resolves when it is ready. */
  async start(settings: NotificationRigOptions['settings'] = {}): Promise<NotificationRig> {
    await this.stop();
    this.portal.calls.length = 0;
    const log: Log = { ...silentLog, child: () => log, warn: (fields, message) => void this.warnings.push({ ...fields, message: message! }) };
    this.#rig = await notificationRig({ dataDir: this.#dataDir, portal: this.portal, settings, log });
    return this.#rig;
  }

  async stop(): Promise<void> {
    await this.#rig?.dispose();
    this.#rig = undefined;
  }

  /** Templates fetched since the start. */
  get fetched(): number {
    return this.portal.calls.filter(([method]) => method === 'getTemplate').length;
  }
}

/** As if they had been used then. */
async function used(rig: NotificationRig, templateIds: readonly string[], at: number): Promise<void> {
  const uses = rig.composition.part('notification', TemplateUses);
  for (const [nth, templateId] of templateIds.entries()) await uses.note(WORKSPACE, templateId, at + nth);
}

describe('a start of notification', () => {
  it('is over when templates in use are warm: the first mail fetches none', async (t) => {
    const restarts = new Restarts(t);
    const before = await restarts.start();
    assert.equal(restarts.fetched, 0, 'nothing was in use');
    await before.rest(await before.ask());
    assert.equal(restarts.fetched, 1);

    restarts.portal.templates.get('t1')!.version = 4;
    const rig = await restarts.start();
    assert.equal(restarts.fetched, 1, 'before it was ready');
    const delivery = await rig.rest(await rig.ask());
    assert.deepEqual([delivery.state, delivery.templateVersion, restarts.fetched], ['sent', 4, 1]);
    assert.deepEqual(restarts.warnings, []);
  });

  it('hands versions to the renderer before any mail does', async (t) => {
    const restarts = new Restarts(t);
    await used(await restarts.start(), ['t1'], Date.now());
    const renderer = (await restarts.start()).composition.part('notification', Renderer);
    // Known by its key, so that what comes along is not looked at.
    const parts = await renderer.render(`${WORKSPACE} t1 3`, { subject: 'new to the renderer', html: '', text: '', fromName: '' }, { person: { name: 'Eve' } });
    assert.equal(parts.subject, 'Hi Eve');
  });

  it('warms those that were used last, so many at most, and none that rest for a week', async (t) => {
    const restarts = new Restarts(t);
    const rig = await restarts.start();
    const ids = Array.from({ length: 60 }, (_, nth) => `t${nth}`);
    for (const id of ids) restarts.portal.templates.set(id, { version: 1, compiled: compiled() });
    await used(rig, ids.slice(0, 30), Date.now() - 8 * DAY_MS);
    await restarts.start();
    assert.equal(restarts.fetched, 0);
    await used(await restarts.start(), ids, Date.now());
    const full = await restarts.start();
    assert.equal(restarts.fetched, 50);
    await full.rest(await full.ask({ templateId: 't59' }));
    await full.rest(await full.ask({ templateId: 't10' }));
    assert.equal(restarts.fetched, 50);
    await full.rest(await full.ask({ templateId: 't9' }));
    assert.equal(restarts.fetched, 51);
  });

  it('warms no more of large templates than memory is meant for', async (t) => {
    const restarts = new Restarts(t);
    const ids = Array.from({ length: 25 }, (_, nth) => `t${nth}`);
    for (const id of ids) restarts.portal.templates.set(id, { version: 1, compiled: compiled({ html: `<p>{{ person.name }}</p>${'x'.repeat(900_000)}` }) });
    await used(await restarts.start(), ids, Date.now());
    await restarts.start({ warmUpMs: 20_000 });
    assert.ok(restarts.fetched >= 9 && restarts.fetched < 20, `${restarts.fetched} were fetched`);
    assert.deepEqual(restarts.warnings, []);
  });

  it('forgets templates that are gone, once', async (t) => {
    const restarts = new Restarts(t);
    await used(await restarts.start(), ['t1', 'deleted'], Date.now());
    await restarts.start();
    assert.equal(restarts.fetched, 2);
    await restarts.start();
    assert.equal(restarts.fetched, 1);
    assert.deepEqual(restarts.warnings, []);
  });

  it('goes on without portal when it is away, says so once, and the first mail fetches', async (t) => {
    const restarts = new Restarts(t);
    await used(await restarts.start(), Array.from({ length: 30 }, (_, nth) => `t${nth}`), Date.now());
    restarts.portal.away = new Fault('unavailable', 'Host app cannot be reached.', { origin: 'unsent' });
    const began = performance.now();
    const rig = await restarts.start({ warmUpMs: 60_000 });
    assert.ok(performance.now() - began < 20_000, 'it did not wait');
    assert.ok(restarts.fetched <= 8, 'it did not ask again and again');
    assert.deepEqual(restarts.warnings.map(({ message, templates, of }) => [message, templates, of]), [['not all templates are warm; their first mails fetch them', 0, 30]]);
    restarts.portal.away = null;
    assert.equal((await rig.rest(await rig.ask())).state, 'sent');
  });

  it('does not wait longer than it may for a portal that does not answer', async (t) => {
    const restarts = new Restarts(t);
    await used(await restarts.start(), Array.from({ length: 30 }, (_, nth) => `t${nth}`), Date.now());
    const { promise, resolve: answer } = Promise.withResolvers<void>();
    t.after(() => answer());
    restarts.portal.stuck = promise;
    const began = performance.now();
    const rig = await restarts.start({ warmUpMs: 300 });
    const tookMs = performance.now() - began;
    assert.ok(tookMs >= 300 && tookMs < 2_000, `${tookMs} ms`);
    assert.ok(restarts.fetched <= 8);
    assert.deepEqual(restarts.warnings.map(({ templates, of, err }) => [templates, of, Fault.is(err) && err.code]), [[0, 30, 'deadline']]);
    answer();
    assert.equal((await rig.rest(await rig.ask())).state, 'sent');
  });

  it('waits for none where it is told to', async (t) => {
    const restarts = new Restarts(t);
    await used(await restarts.start(), ['t1'], Date.now());
    await restarts.start({ warmUpMs: 0 });
    assert.equal(restarts.fetched, 0);
  });
});
