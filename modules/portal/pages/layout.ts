import { html, type Html } from './html.ts';

/** Who is logged in, as the frame shows them. */
export interface FrameUser {
  readonly email: string;
  readonly csrfToken: string;
  readonly workspace: { readonly workspaceId: string; readonly name: string } | null;
}

/** What the frame around each page shows of who looks. */
export interface Frame {
  readonly title: string;
  /** Undefined: nobody is logged in. */
  readonly user?: FrameUser | undefined;
}

export function layout({ title, user }: Frame, main: Html): Html {
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>${title}${user?.workspace == null ? null : ` · ${user.workspace.name}`} · Multilith</title>
<link rel="icon" href="/assets/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/assets/style.css">
</head>
<body>
<header><strong>Multilith${user?.workspace == null ? null : html` <span class="soft">${user.workspace.name}</span>`}</strong>${user === undefined ? null : navigation(user)}</header>
<main>${main}</main>
</body>
</html>
`;
}

function navigation({ email, csrfToken, workspace }: FrameUser): Html {
  const query = workspace === null ? '' : `?workspace=${encodeURIComponent(workspace.workspaceId)}`;
  return html`<a href="/${query}">Home</a><a href="/people${query}">People</a><a href="/outbox${query}">Outbox</a><a href="/imports${query}">Imports</a><a href="/exports${query}">Exports</a><a href="/keys${query}">API keys</a><a href="/docs${query}">API</a>
<form method="post" action="/logout"><input type="hidden" name="csrf" value="${csrfToken}"><button class="plain" title="${email}">Log out</button></form>`;
}

/** A page that says one thing. */
export function notice(title: string, text: string, user?: FrameUser): Html {
  return layout({ title, user }, html`<div class="narrow"><h1>${title}</h1><p>${text}</p></div>`);
}
