import { mkdtempSync, rmSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import S3rver from 's3rver';

/** A real server that speaks S3, not ours, with an empty bucket. */
export class S3Server {
  readonly port: number;
  readonly #server: S3rver;
  readonly #folder: string;

  private constructor(server: S3rver, folder: string, port: number) {
    this.#server = server;
    this.#folder = folder;
    this.port = port;
  }

  static async start(): Promise<S3Server> {
    const folder = mkdtempSync(join(tmpdir(), 'multilith-s3-'));
    const server = new S3rver({ address: '127.0.0.1', port: 0, silent: true, directory: folder, configureBuckets: [{ name: 'suite', configs: [] }] });
    const { port } = (await server.run()) as unknown as AddressInfo;
    return new S3Server(server, folder, port);
  }

  /** For the driver. */
  get settings(): object {
    return { endpoint: `http://127.0.0.1:${this.port}`, bucket: 'suite', prefix: 'mine/', accessKeyId: 'S3RVER', secretAccessKey: 'S3RVER' };
  }

  async stop(): Promise<void> {
    await this.#server.close();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
