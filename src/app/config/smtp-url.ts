import type { Tree } from './tree.ts';

/** What `smtp://user:password@host:port` (or `smtps://…`, TLS from the first byte) says, as settings of the email channel. */
export function smtpSettings(text: string): Tree {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const fits = url !== undefined && ['smtp:', 'smtps:'].includes(url.protocol) && url.hostname !== '' && ['', '/'].includes(url.pathname) && url.search === '';
  if (!fits) throw new TypeError('must look like smtp://user:password@host:port, special characters of user and password written as %XX');
  const tls = url.protocol === 'smtps:';
  return {
    channels: {
      email: {
        driver: 'smtp',
        host: url.hostname.replace(/^\[|\]$/g, ''),
        port: url.port === '' ? (tls ? 465 : 587) : Number(url.port),
        ...(tls && { security: 'tls' }),
        ...(url.username !== '' && { username: decodeURIComponent(url.username), password: decodeURIComponent(url.password) }),
      },
    },
  };
}
