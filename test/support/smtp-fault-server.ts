import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';

/** What the server does at a step instead of the usual reply. */
export type SmtpFault =
  /** Sends these bytes as they are. */
  | { readonly say: string }
  /** Sends these bytes, then closes. */
  | { readonly sayAndClose: string }
  /** Closes without a word; `reset` by RST. */
  | { readonly drop: true; readonly reset?: boolean }
  /** Says nothing and keeps the connection. */
  | { readonly hang: true }
  /** Sends this again and again until the other side goes, at most `mostBytes`. */
  | { readonly endless: string; readonly everyMs: number };

/** `dot` is the reply to the end of the message; `content` is after some bytes of the message. */
export type SmtpStep = 'greeting' | 'ehlo' | 'mail' | 'rcpt' | 'data' | 'content' | 'dot' | 'rset' | 'starttls';

export interface SmtpScript {
  /** By step; a list is used up one by one, then the usual reply comes. */
  readonly faults?: Partial<Record<SmtpStep, SmtpFault | readonly SmtpFault[]>>;
  readonly extensions?: readonly string[];
  /** With `content`: after so many bytes of the message. */
  readonly contentBytes?: number;
}

export interface ReceivedMail {
  readonly from: string;
  readonly to: readonly string[];
  /** As it came over the wire, dot-stuffed, without the final dot. */
  readonly wire: string;
}

const USUAL: Readonly<Record<SmtpStep, string>> = {
  greeting: '220 faulty.example ESMTP\r\n',
  ehlo: '',
  mail: '250 2.1.0 Ok\r\n',
  rcpt: '250 2.1.5 Ok\r\n',
  data: '354 End data with <CR><LF>.<CR><LF>\r\n',
  content: '',
  dot: '250 2.0.0 Ok: queued\r\n',
  rset: '250 2.0.0 Ok\r\n',
  starttls: '502 5.5.1 Not known\r\n',
};
const CRLF_DOT = '\r\n.\r\n';

/** An SMTP server over raw sockets that misbehaves as its script says. Loopback only. */
export class SmtpFaultServer {
  readonly mails: ReceivedMail[] = [];
  /** Every command line of every connection, in order. */
  readonly commands: string[] = [];
  connections = 0;
  mostOpen = 0;
  script: SmtpScript;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #left = new Map<SmtpStep, SmtpFault[]>();

  constructor(script: SmtpScript = {}) {
    this.script = script;
    this.#server = createServer({ noDelay: true }, (socket) => this.#serve(socket));
  }

  async listen(port = 0): Promise<number> {
    await new Promise<void>((resolve, reject) => this.#server.once('error', reject).listen(port, '127.0.0.1', resolve));
    return (this.#server.address() as AddressInfo).port;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    if (this.#server.listening) await new Promise((resolve) => this.#server.close(resolve));
  }

  /** Connections that have neither said goodbye nor been closed. */
  get openNow(): number {
    return this.#sockets.size;
  }

  /** Ends every connection, as servers do with those that lie idle. */
  dropAll(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  sayToAll(text: string): void {
    for (const socket of this.#sockets) socket.write(text, 'latin1');
  }

  /** The next fault for the step, if any. */
  faultAt(step: SmtpStep): SmtpFault | undefined {
    const scripted = this.script.faults?.[step];
    if (scripted === undefined) return undefined;
    if (!isList(scripted)) return scripted;
    if (!this.#left.has(step)) this.#left.set(step, [...scripted]);
    return this.#left.get(step)!.shift();
  }

  #serve(socket: Socket): void {
    this.connections++;
    this.#sockets.add(socket);
    this.mostOpen = Math.max(this.mostOpen, this.openNow);
    const gone = (): void => void this.#sockets.delete(socket);
    socket.on('error', () => {});
    socket.on('close', gone);
    const session = new Session(this, socket, gone);
    session.reply('greeting');
    socket.setEncoding('latin1').on('data', (chunk) => session.take(String(chunk)));
  }
}

class Session {
  readonly #server: SmtpFaultServer;
  readonly #socket: Socket;
  readonly #onQuit: () => void;
  #buffer = '';
  #inData = false;
  #silent = false;
  #from = '';
  #to: string[] = [];

  constructor(server: SmtpFaultServer, socket: Socket, onQuit: () => void) {
    this.#onQuit = onQuit;
    this.#server = server;
    this.#socket = socket;
  }

  take(chunk: string): void {
    if (this.#silent) return;
    this.#buffer += chunk;
    while (!this.#silent && (this.#inData ? this.#takeContent() : this.#takeCommand()));
  }

  /** Sends the step's reply, or does what the script says instead. Answers whether it was the usual one. */
  reply(step: SmtpStep): boolean {
    const fault = this.#server.faultAt(step);
    if (fault === undefined) {
      if (step === 'ehlo') this.#socket.write(ehlo(this.#server.script.extensions ?? ['PIPELINING', 'SIZE 50000000', '8BITMIME', 'ENHANCEDSTATUSCODES']));
      else if (USUAL[step] !== '') this.#socket.write(USUAL[step]);
      return true;
    }
    this.#misbehave(fault);
    return false;
  }

  #misbehave(fault: SmtpFault): void {
    if ('say' in fault) {
      this.#socket.write(fault.say, 'latin1');
      return;
    }
    this.#silent = true;
    if ('sayAndClose' in fault) this.#socket.end(fault.sayAndClose, 'latin1');
    else if ('drop' in fault) fault.reset ? this.#socket.resetAndDestroy() : this.#socket.destroy();
    else if ('endless' in fault) this.#babble(fault);
  }

  #babble({ endless, everyMs }: { readonly endless: string; readonly everyMs: number }): void {
    const timer = setInterval(() => this.#socket.write(endless, 'latin1'), everyMs);
    this.#socket.once('close', () => clearInterval(timer));
  }

  #takeCommand(): boolean {
    const end = this.#buffer.indexOf('\r\n');
    if (end < 0) return false;
    const line = this.#buffer.slice(0, end);
    this.#buffer = this.#buffer.slice(end + 2);
    this.#server.commands.push(line);
    const verb = line.slice(0, 4).toUpperCase();
    if (verb === 'EHLO') this.reply('ehlo');
    else if (verb === 'MAIL') this.#mail(line);
    else if (verb === 'RCPT') this.#rcpt(line);
    else if (verb === 'DATA') this.#data();
    else if (verb === 'RSET') this.#rset();
    else if (verb === 'STAR') this.reply('starttls');
    else if (verb === 'QUIT') this.#quit();
    else this.#socket.write('502 5.5.1 Not known\r\n');
    return true;
  }

  #quit(): void {
    this.#onQuit();
    this.#socket.end('221 2.0.0 Bye\r\n');
  }

  #mail(line: string): void {
    // RFC 5321 section 3.3: one transaction at a time.
    if (this.#from !== '') this.#socket.write('503 5.5.1 Error: nested MAIL command\r\n');
    else if (this.reply('mail')) this.#from = /<(.*?)>/.exec(line)?.[1] ?? '';
  }

  #rcpt(line: string): void {
    if (this.reply('rcpt')) this.#to.push(/<(.*?)>/.exec(line)?.[1] ?? '');
  }

  #data(): void {
    // As real servers do: no DATA without a recipient, which matters to clients that pipeline.
    if (this.#to.length === 0) this.#socket.write('554 5.5.1 Error: no valid recipients\r\n');
    else if (this.reply('data')) this.#inData = true;
  }

  #rset(): void {
    this.#from = '';
    this.#to = [];
    this.reply('rset');
  }

  #takeContent(): boolean {
    if (this.#server.script.faults?.content !== undefined && this.#buffer.length >= (this.#server.script.contentBytes ?? 1)) {
      this.reply('content');
      return false;
    }
    const end = this.#buffer.startsWith('.\r\n') ? -2 : this.#buffer.indexOf(CRLF_DOT);
    if (end === -1) return false;
    const wire = end < 0 ? '' : this.#buffer.slice(0, end + 2);
    this.#buffer = this.#buffer.slice(end < 0 ? 3 : end + CRLF_DOT.length);
    this.#inData = false;
    this.#server.mails.push({ from: this.#from, to: this.#to, wire });
    this.#from = '';
    this.#to = [];
    this.reply('dot');
    return true;
  }
}

function ehlo(extensions: readonly string[]): string {
  const lines = ['faulty.example', ...extensions];
  return lines.map((line, i) => `250${i === lines.length - 1 ? ' ' : '-'}${line}\r\n`).join('');
}

function isList(value: SmtpFault | readonly SmtpFault[]): value is readonly SmtpFault[] {
  return Array.isArray(value);
}
