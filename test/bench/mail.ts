import { type ChildProcess, spawn } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { join } from 'node:path';
import MailComposer from 'nodemailer/lib/mail-composer';
import { smtp, SmtpSettings } from '../../adapters/channel/smtp/driver.ts';
import { composeMail, type MailParts } from '../../modules/notification/compose/message.ts';
import { ParsedTemplate } from '../../modules/notification/render/liquid-engine.ts';
import { Renderer } from '../../modules/notification/render/renderer.ts';
import { NotificationSettings } from '../../modules/notification/settings.ts';
import type { Channel } from '../../src/ports/channel.ts';
import { testContext } from '../support/context.ts';
import { compiled, notificationRig, person } from '../support/notification-rig.ts';
import { freePort } from '../support/server-process.ts';
import type { BenchRow } from './report.ts';

const COMPOSED = 5_000;
const RENDERED = 10_000;
const SENT = 20_000;
const DELIVERED = 10_000;
const NEVER = new AbortController().signal;

const LINES = Array.from({ length: 12 }, (_, i) => `<tr><td style="padding:8px;color:#333">Line ${i}</td><td>{{ event.premium | plus: ${i} }}</td></tr>`).join('\n');
const TEMPLATE = {
  subject: '{{ person.firstName }}, your {{ event.line }} policy renews soon',
  html: `<html><body><h1>Dear {{ person.firstName }}</h1><p>Your {{ event.line }} policy {{ event.policy }} renews on {{ event.renewal | date: "%B %d, %Y" }}.</p>{% if person.plan == 'gold' %}<p>Thank you.</p>{% endif %}<table>${LINES}</table>${'<p>We are here for you whenever you need us.</p>\n'.repeat(50)}<a href="{{ unsubscribe_url }}">Unsubscribe</a></body></html>`,
  text: 'Dear {{ person.firstName }}, your {{ event.line }} policy {{ event.policy }} renews on {{ event.renewal | date: "%B %d, %Y" }}. {{ unsubscribe_url }}',
  fromName: '',
};
const DATA = { person: { firstName: 'Maria', plan: 'gold' }, event: { line: 'Auto', policy: 'P-1234', premium: 480, renewal: '2026-12-24' }, unsubscribe_url: 'https://mail.agency.example/u/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx' };

/** From a person's data to a mail that the server has taken: what each step costs, and what they reach together. */
export async function benchMail(): Promise<BenchRow[]> {
  const parts: MailParts = { messageId: 'x@agency.example', to: 'maria@customer.example', from: { name: 'Agency', email: 'a@agency.example' }, ...new ParsedTemplate(TEMPLATE).render(DATA), unsubscribeUrl: DATA.unsubscribe_url, now: Date.now() };
  const sink = await startSink();
  try {
    return [...(await composing(parts)), ...(await rendering()), ...(await sending(sink.port, parts)), await delivering(sink.port)];
  } finally {
    sink.child.kill('SIGKILL');
  }
}

async function composing(parts: MailParts): Promise<BenchRow[]> {
  const ours = await cpuUs(COMPOSED, async () => void composeMail(parts));
  const beyondAscii = await cpuUs(COMPOSED, async () => void composeMail({ ...parts, html: parts.html.replaceAll('you ', 'für ') }));
  const { html, text, subject } = parts;
  const theirs = await cpuUs(COMPOSED / 5, () => new Promise<void>((resolve, reject) => new MailComposer({ from: 'a@agency.example', to: parts.to, subject, html, text }).compile().build((error) => (error ? reject(error) : resolve()))));
  return [
    { name: 'mail.compose', value: ours, unit: 'µs CPU', aim: 15, better: 'lower', limit: theirs, note: `${composeMail(parts).length} bytes; limit: nodemailer's composer` },
    { name: 'mail.compose-quoted-printable', value: beyondAscii, unit: 'µs CPU', better: 'lower' },
  ];
}

async function rendering(): Promise<BenchRow[]> {
  const renderer = new Renderer(NotificationSettings.parse({}));
  const template = new ParsedTemplate(TEMPLATE);
  const bare = (1e6 / (await wallUs(RENDERED / 2, 1, async () => void template.render(DATA)))) ;
  await renderer.render('v1', TEMPLATE, DATA);
  const inWorker = 1e6 / (await wallUs(RENDERED, 128, async () => void (await renderer.render('v1', TEMPLATE, DATA))));
  await renderer.stop();
  return [{ name: 'mail.render', value: inWorker, unit: '/s', limit: bare, note: 'subject, HTML and text in a thread that can be killed; limit: on the event loop' }];
}

async function sending(port: number, parts: MailParts): Promise<BenchRow[]> {
  const privateKey = generateKeyPairSync('rsa', { modulusLength: 2_048 }).privateKey.export({ type: 'pkcs8', format: 'pem' });
  const raw = composeMail(parts);
  const rate = async (settings: object): Promise<{ perSecond: number; us: number }> => {
    const channel = await openSmtp(port, settings);
    const send = async (): Promise<void> => {
      const { kind } = await channel.send({ deliveryId: 'x', workspace: 'w', envelope: { from: parts.from.email, to: parts.to }, raw }, NEVER);
      if (kind !== 'accepted') throw new Error(`smtp-sink answered ${kind}`);
    };
    await wallUs(1_000, 20, send);
    const before = process.cpuUsage();
    const perSecond = 1e6 / (await wallUs(SENT, 20, send));
    const { user, system } = process.cpuUsage(before);
    await channel.stop(2_000);
    return { perSecond, us: (user + system) / SENT };
  };
  const plain = await rate({});
  const signed = await rate({ dkim: { domain: 'agency.example', selector: 's1', privateKey } });
  const nodemailer = await nodemailerRate(port);
  return [
    { name: 'mail.channel', value: plain.perSecond, unit: '/s', aim: 3_000, limit: nodemailer, note: `finished mails to smtp-sink, 20 connections, ${plain.us.toFixed(0)} µs CPU each; limit: nodemailer's pool, which composes too` },
    { name: 'mail.channel-signed', value: signed.perSecond, unit: '/s', note: `with RSA-2048 DKIM, ${signed.us.toFixed(0)} µs CPU each` },
  ];
}

/** The whole module: request on the bus → decided, rendered, sent, recorded, announced. */
async function delivering(port: number): Promise<BenchRow> {
  const channel = await openSmtp(port, {});
  const rig = await notificationRig({ channels: new Map([['email', channel]]), placement: 'inline' });
  rig.portal.templates.set('t1', { version: 1, compiled: compiled({ ...TEMPLATE, from: null }) });
  for (let i = 0; i < 1_000; i++) rig.portal.people.set(`p${i}`, person(`p${i}`, { attributes: DATA.person }));
  await rig.composition.bus.pause('notification.send-requested');
  for (let from = 0; from < DELIVERED; from += 500) await Promise.all(Array.from({ length: 500 }, (_, i) => rig.ask({ personId: `p${(from + i) % 1_000}`, event: DATA.event })));
  const cpu = process.cpuUsage();
  const began = performance.now();
  await rig.composition.bus.resume('notification.send-requested');
  await rig.until(async () => (await rig.api.countDeliveries({ sourceId: 'a1' }, rig.call())).sent === DELIVERED);
  const seconds = (performance.now() - began) / 1_000;
  const { user, system } = process.cpuUsage(cpu);
  await rig.dispose();
  return { name: 'mail.delivered', value: DELIVERED / seconds, unit: '/s', aim: 1_500, note: `from request on the bus to recorded as sent, durable; ${((user + system) / DELIVERED).toFixed(0)} µs CPU each` };
}

async function openSmtp(port: number, settings: object): Promise<Channel> {
  const channel = smtp.create(SmtpSettings.parse({ host: '127.0.0.1', port, ...settings }), testContext());
  await channel.start();
  return channel;
}

async function cpuUs(times: number, work: () => Promise<void>): Promise<number> {
  for (let i = 0; i < times / 5; i++) await work();
  const before = process.cpuUsage();
  for (let i = 0; i < times; i++) await work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / times;
}

/** Microseconds of wall time for each, with so many under way. */
async function wallUs(times: number, underWay: number, work: () => Promise<void>): Promise<number> {
  let left = times;
  const began = performance.now();
  await Promise.all(Array.from({ length: underWay }, async () => {
    while (left-- > 0) await work();
  }));
  return ((performance.now() - began) * 1_000) / times;
}

async function startSink(): Promise<{ port: number; child: ChildProcess }> {
  const port = await freePort();
  const user = process.getuid?.() === 0 ? ['-u', 'nobody'] : [];
  const child = spawn('smtp-sink', [...user, `127.0.0.1:${port}`, '1000'], { stdio: 'ignore', env: { PATH: `${process.env.PATH}:/usr/sbin:/sbin` } });
  process.once('exit', () => child.kill('SIGKILL'));
  await new Promise((resolve, reject) => {
    child.once('error', reject);
    setTimeout(resolve, 300);
  });
  return { port, child };
}

/** In a process of its own: nodemailer's pool of 20, which composes each mail, too. */
async function nodemailerRate(port: number): Promise<number> {
  const child = spawn(process.execPath, [join(import.meta.dirname, '../../../test/bench/peers/nodemailer.mjs'), String(port)], { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  for await (const chunk of child.stdout) text += String(chunk);
  return (JSON.parse(text.trim().split('\n').at(-1)!) as { mails: number }).mails;
}
