import type { IncomingMessage } from 'node:http';

/**
 * The client's network address. With proxies of ours in front, each of which appends to X-Forwarded-For, the entry
 * that the outermost of them wrote: whatever stands before it came from the client and is not believed.
 */
export function clientAddress(request: IncomingMessage, trustedProxies: number): string {
  const direct = request.socket.remoteAddress ?? 'unknown';
  if (trustedProxies === 0) return direct;
  const header = request.headers['x-forwarded-for'];
  const hops = (Array.isArray(header) ? header.join(',') : (header ?? '')).split(',').map((hop) => hop.trim()).filter((hop) => /^[0-9a-fA-F.:]{2,45}$/.test(hop));
  return hops.at(-trustedProxies) ?? direct;
}
