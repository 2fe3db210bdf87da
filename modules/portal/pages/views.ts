import type { ApiKey } from '../access/api-keys.ts';
import { Scope } from '../access/scopes.ts';
import { LEAST_PASSWORD, LONGEST_PASSWORD } from '../access/users.ts';
import type { AnyRoute } from '../http/route.ts';
import { type Export, Format, What } from '../exports/exports.ts';
import type { Import } from '../imports/imports.ts';
import { ImportFormat } from '../imports/people-file.ts';
import type { PersonRecord } from '../people/people.ts';
import type { Segment } from '../segments/segments.ts';
import { html, type Html } from './html.ts';

export function setupView(problem: string | null, given: { email: string; workspace: string }): Html {
  return html`<div class="narrow"><h1>Welcome</h1>
<p>This makes the first owner and the first workspace. The link works once.</p>
${problemView(problem)}
<form method="post" class="box">
<label for="email">E-mail address</label><input id="email" name="email" type="email" required maxlength="254" autocomplete="username" value="${given.email}">
<label for="password">Password, at least ${LEAST_PASSWORD} characters</label><input id="password" name="password" type="password" required minlength="${LEAST_PASSWORD}" maxlength="${LONGEST_PASSWORD}" autocomplete="new-password">
<label for="workspace">Name of the workspace, e.g. your client's or your own</label><input id="workspace" name="workspace" type="text" required maxlength="200" value="${given.workspace}">
<button>Begin</button></form></div>`;
}

/** `next` is where the login leads, a path of ours. */
export function loginView(problem: string | null, formToken: string, email: string, next: string): Html {
  return html`<div class="narrow"><h1>Log in</h1>
${problemView(problem)}
<form method="post" action="/login" class="box"><input type="hidden" name="csrf" value="${formToken}"><input type="hidden" name="next" value="${next}">
<label for="email">E-mail address</label><input id="email" name="email" type="email" required maxlength="254" autocomplete="username" value="${email}">
<label for="password">Password</label><input id="password" name="password" type="password" required maxlength="${LONGEST_PASSWORD}" autocomplete="current-password">
<button>Log in</button></form></div>`;
}

function problemView(problem: string | null): Html | null {
  return problem === null ? null : html`<p class="bad" role="alert">${problem}</p>`;
}

export function homeView(workspaces: readonly { workspaceId: string; name: string }[], current: string | null, publicUrl: string): Html {
  const example = `curl ${publicUrl}/v1/track -u "$KEY:" -H "Content-Type: application/json" \\
  -d '{"userId":"ada","event":"Signed Up","properties":{"plan":"home"}}'`;
  return html`<h1>${workspaces.find((each) => each.workspaceId === current)?.name ?? 'No workspace'}</h1>
<div class="box"><h2>Send an event</h2><p>Make an <a href="/keys?workspace=${current}">API key</a> with the scope <code>ingest</code>, then:</p><pre>${example}</pre></div>
<div class="box"><h2>Look around</h2><ul>
<li><a href="/people?workspace=${current}">People</a>: everybody, or those of a segment</li>
<li><a href="/outbox?workspace=${current}">Outbox</a>: mails kept here instead of being sent, until SMTP is set up</li>
<li><a href="/docs?workspace=${current}">API</a>: people, templates, automations, deliveries; also as <a href="/api/openapi.json">OpenAPI 3.1</a></li></ul></div>
${workspaces.length < 2 ? null : html`<h2>Other workspaces</h2><ul>${workspaces.filter((each) => each.workspaceId !== current).map((each) => html`<li><a href="/?workspace=${each.workspaceId}">${each.name}</a></li>`)}</ul>`}`;
}

export interface OutboxRow {
  readonly deliveryId: string;
  readonly to: string;
  readonly subject: string;
  readonly storedAt: number;
}

export function outboxView(mails: readonly OutboxRow[], workspace: string, next: string | null): Html {
  if (mails.length === 0) return html`<h1>Outbox</h1><p>Nothing here. Mails appear when an automation or a test sends one and no SMTP server is set up.</p>`;
  return html`<h1>Outbox</h1><table><thead><tr><th>To</th><th>Subject</th><th>Time (UTC)</th></tr></thead><tbody>
${mails.map((mail) => html`<tr><td>${mail.to}</td><td><a href="/outbox/${mail.deliveryId}?workspace=${workspace}">${mail.subject === '' ? '(no subject)' : mail.subject}</a></td><td class="soft">${timeOf(mail.storedAt)}</td></tr>`)}
</tbody></table>${next === null ? null : html`<p><a href="/outbox?workspace=${workspace}&after=${next}">Older</a></p>`}`;
}

export function mailView(mail: OutboxRow & { from: string; html: string | null; text: string | null }, workspace: string): Html {
  const at = `/outbox/${encodeURIComponent(mail.deliveryId)}`;
  return html`<h1>${mail.subject}</h1>
<p class="soft">From ${mail.from}<br>To ${mail.to}<br>${timeOf(mail.storedAt)} UTC</p>
${mail.html === null ? null : html`<iframe sandbox="" title="The mail's HTML" src="${at}/html?workspace=${workspace}"></iframe><p class="soft">Links, scripts and pictures from elsewhere are off in this view.</p>`}
<h2>Plain text</h2><pre>${mail.text ?? ''}</pre>
<p><a href="${at}/raw?workspace=${workspace}">The whole message as it would have gone out</a></p>`;
}

export interface PeopleShown {
  readonly people: readonly PersonRecord[];
  readonly segments: readonly Segment[];
  /** Whose people these are; null for everybody. */
  readonly chosen: Segment | null;
  readonly next: string | null;
}

export function peopleView({ people, segments, chosen, next }: PeopleShown, workspace: string): Html {
  const of = chosen === null ? '' : `&segment=${encodeURIComponent(chosen.segmentId)}`;
  return html`<h1>People</h1>
<form method="get" action="/people" class="box"><input type="hidden" name="workspace" value="${workspace}">
${segmentChoice(segments, chosen)}<button>Show</button></form>
${chosen?.state === 'filling' ? html`<p role="status">Who belongs to this segment is still being found: ${chosen.lookedAt} people looked at so far. Reload for more.</p>` : null}
${people.length === 0 ? html`<p>Nobody here.</p>` : peopleTable(people)}${next === null ? null : html`<p><a href="/people?workspace=${workspace}${of}&after=${next}">Older</a></p>`}`;
}

function segmentChoice(segments: readonly Segment[], chosen: Segment | null): Html {
  const option = ({ segmentId, name, people }: Segment) => html`<option value="${segmentId}"${segmentId === chosen?.segmentId ? html` selected` : null}>${name} (${people})</option>`;
  return html`<label for="segment">Segment</label><select id="segment" name="segment"><option value="">Everybody</option>${segments.map(option)}</select>`;
}

function peopleTable(people: readonly PersonRecord[]): Html {
  return html`<table><thead><tr><th class="wide">E-mail address</th><th>User id</th><th>To mail</th><th>Known since (UTC)</th></tr></thead><tbody>
${people.map((one) => html`<tr><td>${one.email ?? html`<span class="soft">no address</span>`}</td><td>${one.userId ?? html`<span class="soft">anonymous</span>`}</td><td class="soft">consent ${one.consent.email}</td><td class="soft" data-label="since">${timeOf(one.createdAt)}</td></tr>`)}
</tbody></table>`;
}

export function exportsView(exports: readonly Export[], segments: readonly Segment[], csrfToken: string, workspace: string): Html {
  const nameOf = ({ what, segment }: Export) => (segment === null ? what : (segments.find(({ segmentId }) => segmentId === segment)?.name ?? 'a segment that was deleted'));
  return html`<h1>Exports</h1>
<form method="post" action="/exports?workspace=${workspace}" class="box"><input type="hidden" name="csrf" value="${csrfToken}">
${choice('what', 'What', What.options)}${segments.length === 0 ? null : segmentChoice(segments, null)}${choice('format', 'As', Format.options)}<button>Export</button></form>
${exports.length === 0 ? html`<p>No files yet. Each that is asked for is listed here, and kept for some days.</p>` : html`<table><thead><tr><th>What</th><th>Asked for (UTC)</th><th>Rows</th><th>Until (UTC)</th><th></th><th></th></tr></thead><tbody>
${exports.map((one) => html`<tr><td>${nameOf(one)}, ${one.format}</td><td class="soft" data-label="asked for">${timeOf(one.createdAt)}</td><td${one.rows === null ? null : html` data-label="rows"`}>${one.rows}</td><td class="soft" data-label="until">${timeOf(one.expiresAt)}</td><td>${one.state === 'done' ? html`<a href="/api/v1/exports/${one.exportId}/content?workspace=${workspace}">Download</a>` : html`<span class="${one.state === 'failed' ? 'bad' : 'soft'}">${one.state}${one.reason === null ? '' : `: ${one.reason}`}</span>`}</td><td>${deleteForm(`/exports/${one.exportId}`, one.state, csrfToken, workspace)}</td></tr>`)}
</tbody></table>`}`;
}

function choice(name: string, label: string, values: readonly string[]): Html {
  return html`<label for="${name}">${label}</label><select id="${name}" name="${name}">${values.map((value) => html`<option>${value}</option>`)}</select>`;
}

export function importsView(imports: readonly Import[], maxBytes: number, csrfToken: string, workspace: string): Html {
  return html`<h1>Imports</h1>
<form method="post" action="/imports?workspace=${workspace}" enctype="multipart/form-data" class="box"><input type="hidden" name="csrf" value="${csrfToken}">
${choice('format', 'What kind of file', ImportFormat.options)}<label for="file">File of people, ${Math.floor(maxBytes / 1_048_576)} MiB at most; the first line of a CSV file names its columns, <code>userId</code> or <code>email</code> among them</label><input id="file" name="file" type="file" required><button>Import</button></form>
${imports.length === 0 ? html`<p>No files yet. Each that is sent is listed here, with what became of its rows.</p>` : html`<table><thead><tr><th>File</th><th>Sent (UTC)</th><th>Taken</th><th>Refused</th><th></th><th></th></tr></thead><tbody>
${imports.map((one) => html`<tr><td class="short">${one.format}</td><td class="soft" data-label="sent">${timeOf(one.createdAt)}</td><td class="short">${one.rowsAccepted} taken</td><td class="short">${refusedOf(one, workspace)}</td><td class="${one.state === 'failed' ? 'bad' : 'soft'}">${progressOf(one)}</td><td>${deleteForm(`/imports/${one.importId}`, one.state, csrfToken, workspace)}</td></tr>`)}
</tbody></table>`}`;
}

const FAILURES: Readonly<Record<string, string>> = {
  header_invalid: 'the first line does not name the columns, or the file is not text in UTF-8',
  columns_too_many: 'more than 1,000 columns',
  column_invalid: 'a column has no name, or one that cannot be taken',
  column_repeated: 'two columns have the same name',
  identity_column_missing: 'no column is called userId, personId or email',
  blob_not_found: 'the file is gone; send it again',
};

function refusedOf({ importId, rowsRefused }: Import, workspace: string): Html {
  return rowsRefused === 0 ? html`<span class="soft">none refused</span>` : html`<a href="/api/v1/imports/${importId}/refused?workspace=${workspace}">${rowsRefused} refused</a>`;
}

function progressOf({ state, reason, bytes, bytesRead }: Import): string {
  if (state === 'running' && bytes !== null) return `running, ${Math.floor((100 * bytesRead) / Math.max(bytes, 1))} %`;
  return reason === null ? state : `${state}: ${FAILURES[reason] ?? reason}`;
}

function deleteForm(at: string, state: string, csrfToken: string, workspace: string): Html {
  return html`<form method="post" action="${at}/delete?workspace=${workspace}"><input type="hidden" name="csrf" value="${csrfToken}"><button class="plain">${state === 'running' ? 'Stop' : 'Delete'}</button></form>`;
}

export function keysView(keys: readonly ApiKey[], csrfToken: string, workspace: string, made: string | null): Html {
  return html`<h1>API keys</h1>
${made === null ? null : html`<div class="box" role="status"><p>Copy this key now. It is shown only this once.</p><pre>${made}</pre></div>`}
<form method="post" action="/keys?workspace=${workspace}" class="box"><input type="hidden" name="csrf" value="${csrfToken}">
<label for="name">What is it for?</label><input id="name" name="name" type="text" required maxlength="200">
<p>${Scope.options.map((scope) => html`<label class="inline"><input type="checkbox" name="scope-${scope}"${scope === 'ingest' ? html` checked` : null}>${scope}</label>`)}</p>
<button>Make a key</button></form>
<table><thead><tr><th>Name</th><th>Begins with</th><th>Scopes</th><th>Last used (UTC)</th><th></th></tr></thead><tbody>
${keys.map((key) => html`<tr><td>${key.name}</td><td><code>${key.prefix}…</code></td><td>${key.scopes.join(', ')}</td><td class="soft">${key.lastUsedAt === null ? 'never' : timeOf(key.lastUsedAt)}</td><td>${key.revokedAt === null ? revokeForm(key, csrfToken, workspace) : html`<span class="soft">revoked</span>`}</td></tr>`)}
</tbody></table>`;
}

function revokeForm(key: ApiKey, csrfToken: string, workspace: string): Html {
  return html`<form method="post" action="/keys/${key.keyId}/revoke?workspace=${workspace}"><input type="hidden" name="csrf" value="${csrfToken}"><button class="plain">Revoke</button></form>`;
}

export function docsView(routes: readonly AnyRoute[], publicUrl: string): Html {
  const tags = [...new Set(routes.map((spec) => spec.tag))];
  return html`<h1>API</h1>
<p>Below <code>${publicUrl}/api/v1</code>, with <code>Authorization: Bearer ml_…</code>. The whole truth, for programs too: <a href="/api/openapi.json">OpenAPI 3.1</a>.</p>
${tags.map(
  (tag) => html`<h2>${tag}</h2><table><tbody>${routes
    .filter((spec) => spec.tag === tag)
    .map((spec) => html`<tr><td><span class="method">${spec.method}</span> <code>${spec.path}</code></td><td>${spec.summary}</td><td class="soft">${spec.access}</td></tr>`)}</tbody></table>`,
)}`;
}

export function unsubscribeView(): Html {
  return html`<div class="narrow"><h1>Unsubscribe</h1><p>Press the button and you get no more of these messages.</p>
<form method="post"><input type="hidden" name="List-Unsubscribe" value="One-Click"><button>Unsubscribe</button></form></div>`;
}

function timeOf(time: number): string {
  return new Date(time).toISOString().slice(0, 16).replace('T', ' ');
}
