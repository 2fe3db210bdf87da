import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { SMTPServer } from 'smtp-server';

export interface ReceivedMail {
  readonly from: string;
  readonly to: readonly string[];
  readonly raw: string;
}

export interface MailServerOptions {
  /** Whether mails are kept whole. Default true; without, only how often each came, which a hundred thousand need. */
  readonly keepsMails?: boolean;
}

/** A real SMTP server, not ours, that keeps what it takes. */
export class MailServer {
  readonly mails: ReceivedMail[];
  /** How often each Message-ID has come; without its angle brackets. */
  readonly copies = new Map<string, number>();
  readonly port: number;
  /** Told of each one as it comes. */
  onMail: (mail: ReceivedMail) => void = () => {};
  readonly #server: SMTPServer;

  private constructor(server: SMTPServer, mails: ReceivedMail[], port: number) {
    this.#server = server;
    this.mails = mails;
    this.port = port;
  }

  static async start({ keepsMails = true }: MailServerOptions = {}): Promise<MailServer> {
    const mails: ReceivedMail[] = [];
    let started: MailServer | undefined;
    const server = new SMTPServer({
      authOptional: true,
      disabledCommands: ['STARTTLS'],
      disableReverseLookup: true,
      closeTimeout: 500,
      onData(stream, session, done) {
        const chunks: Buffer[] = [];
        stream.on('data', (chunk: Buffer) => chunks.push(chunk));
        stream.on('end', () => {
          const { mailFrom, rcptTo } = session.envelope;
          const mail = { from: mailFrom === false ? '' : mailFrom.address, to: rcptTo.map((r) => r.address), raw: Buffer.concat(chunks).toString('latin1') };
          if (keepsMails) mails.push(mail);
          started!.#take(mail);
          done();
        });
      },
    });
    // A client that is killed resets its connections: nothing to fail for.
    server.on('error', () => {});
    server.listen(0, '127.0.0.1');
    await once(server.server, 'listening');
    started = new MailServer(server, mails, (server.server.address() as AddressInfo).port);
    return started;
  }

  /** Different mails that have come. */
  get taken(): number {
    return this.copies.size;
  }

  /** Those of them that came more than once. */
  get repeated(): number {
    return [...this.copies.values()].filter((times) => times > 1).length;
  }

  get url(): string {
    return `smtp://127.0.0.1:${this.port}`;
  }

  /** Resolves when so many mails have come. */
  async received(count: number, deadlineMs = 60_000): Promise<readonly ReceivedMail[]> {
    for (const end = Date.now() + deadlineMs; this.mails.length < count; ) {
      if (Date.now() > end) throw new Error(`${this.mails.length} of ${count} mails came within ${deadlineMs} ms`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return this.mails;
  }

  stop(): Promise<void> {
    return new Promise((resolve) => this.#server.close(resolve));
  }

  #take(mail: ReceivedMail): void {
    const messageId = /^Message-ID:\s*<?([^\s>]+)/im.exec(mail.raw)?.[1];
    if (messageId !== undefined) this.copies.set(messageId, (this.copies.get(messageId) ?? 0) + 1);
    this.onMail(mail);
  }
}
