import { html, type Html } from './html.ts';

/** What the frame around each page shows of who looks. */
export interface Frame {
  readonly title: string;
  /** Undefined: nobody is logged in. */
  readonly user?: { readonly email: string; readonly csrfToken: string; readonly workspace: string | null };
}

export function layout({ title, user }: Frame, main: Html): Html {
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>${title} · Multilith</title>
<link rel="icon" href="/assets/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/assets/style.css">
</head>
<body>
<header><strong>Multilith</strong>${user === undefined ? null : navigation(user)}</header>
<main>${main}</main>
</body>
</html>
`;
}

function navigation({ email, csrfToken, workspace }: NonNullable<Frame['user']>): Html {
  const query = workspace === null ? '' : `?workspace=${encodeURIComponent(workspace)}`;
  return html`<a href="/${query}">Home</a><a href="/outbox${query}">Outbox</a><a href="/keys${query}">API keys</a><a href="/docs">API</a>
<form method="post" action="/logout"><input type="hidden" name="csrf" value="${csrfToken}"><button class="plain" title="${email}">Log out</button></form>`;
}

/** A page that says one thing. */
export function notice(title: string, text: string): Html {
  return layout({ title }, html`<div class="narrow"><h1>${title}</h1><p>${text}</p></div>`);
}
