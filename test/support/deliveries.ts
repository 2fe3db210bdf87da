import assert from 'node:assert/strict';
import { after } from 'node:test';
import type { ChannelResult } from '../../src/ports/channel.ts';
import { compiled, notificationRig, person, ScriptedChannel, type NotificationRig, type NotificationRigOptions } from './notification-rig.ts';

/** Settings with which a delivery runs through all its tries in no time. */
export const FAST = { retryFirstMs: 20, retryMostMs: 40, tries: 4 };

/** What a channel may answer. */
export const deferred: ChannelResult = { kind: 'deferred', response: '451 4.7.1 Later', reason: '4.7.1' };
export const rejected: ChannelResult = { kind: 'rejected', response: '550 5.1.1 Nobody', reason: '5.1.1' };
export const accepted: ChannelResult = { kind: 'accepted', response: '250 ok', reason: '2.0.0' };
export const uncertain: ChannelResult = { kind: 'uncertain', response: 'The server closed the connection.', reason: 'connection_closed' };

const rigs: NotificationRig[] = [];
after(() => Promise.all(rigs.map((rig) => rig.dispose())));

/** With Ada and a template `t1`, unless it brings its own; goes when the tests of the file are over. */
export async function rigWith(options: NotificationRigOptions = {}): Promise<NotificationRig> {
  const rig = await notificationRig(options);
  rigs.push(rig);
  if (rig.portal.people.size === 0) rig.portal.people.set('ada', person('ada'));
  if (rig.portal.templates.size === 0) rig.portal.templates.set('t1', { version: 3, compiled: compiled() });
  return rig;
}

/** A channel that gives these answers one after the other, the last one for ever. */
export function answering(...results: ChannelResult[]): { channel: ScriptedChannel; channels: ReadonlyMap<string, ScriptedChannel> } {
  const channel = new ScriptedChannel(async (_, nth) => results[Math.min(nth, results.length) - 1]!);
  return { channel, channels: new Map([['email', channel]]) };
}

/** The counts and the rows behind them must say the same. */
export async function assertAddsUp(rig: NotificationRig, sourceId = 'a1'): Promise<void> {
  const counts = await rig.api.countDeliveries({ sourceId }, rig.call());
  const { items } = await rig.api.listDeliveries({ sourceId, limit: 200 }, rig.call());
  const by = (state: string) => items.filter((delivery) => delivery.state === state);
  const reasons = (state: string) => Object.fromEntries([...new Set(by(state).map(({ reason }) => reason!))].map((reason) => [reason, by(state).filter((d) => d.reason === reason).length]));
  assert.deepEqual(counts, {
    audience: items.length,
    sent: by('sent').length,
    uncertain: by('uncertain').length,
    pending: by('pending').length + by('sending').length,
    suppressed: reasons('suppressed'),
    failed: reasons('failed'),
  });
}
