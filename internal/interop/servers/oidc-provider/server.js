// An OpenID provider on npm oidc-provider, as strict as it comes: PKCE required, refresh tokens rotated,
// reuse of a refresh token or a code ends the whole grant.
// A client is told of each login that ends (OpenID Connect Back-Channel Logout 1.0).
//
// It listens on a free port of 127.0.0.1 and prints "READY <issuer>".
// Environment: CLIENTS (the file clients.json), REDIRECT_URIS and POST_LOGOUT_URIS (space separated),
// BACKCHANNEL_LOGOUT_URIS (space separated, one for each client in the order of clients.json; none: no client is told),
// ACCESS_TTL (seconds, default 3600), TRACE=1 (each refused request on standard error).
import { readFileSync } from 'node:fs';
import http from 'node:http';
import * as crypto from 'node:crypto';
import Provider from 'oidc-provider';

const ACCESS_TTL = Number(process.env.ACCESS_TTL || 3600);
const registrations = JSON.parse(readFileSync(process.env.CLIENTS));
const list = (name) => (process.env[name] || '').split(' ').filter(Boolean);

const key = (type, opts, alg, kid) => ({
  ...crypto.generateKeyPairSync(type, opts).privateKey.export({ format: 'jwk' }), alg, kid, use: 'sig',
});

const configuration = {
  clients: registrations.clients.map((c, i) => ({
    ...c,
    ...(list('BACKCHANNEL_LOGOUT_URIS')[i] && {
      backchannel_logout_uri: list('BACKCHANNEL_LOGOUT_URIS')[i],
      backchannel_logout_session_required: true,
    }),
    redirect_uris: list('REDIRECT_URIS'),
    post_logout_redirect_uris: list('POST_LOGOUT_URIS'),
    response_types: ['code'],
    grant_types: ['authorization_code', 'refresh_token'],
    scope: 'openid offline_access profile email',
  })),
  jwks: {
    keys: [
      key('rsa', { modulusLength: 2048 }, 'RS256', 'op-rs256'),
      key('ec', { namedCurve: 'P-256' }, 'ES256', 'op-es256'),
    ],
  },
  cookies: { keys: ['interop-cookie-key-1'] },
  scopes: ['openid', 'offline_access'],
  claims: {
    openid: ['sub'],
    email: ['email', 'email_verified'],
    profile: ['name', 'preferred_username'],
    acr: null, auth_time: null, sid: null, iss: null,
  },
  clientAuthMethods: ['client_secret_basic', 'client_secret_post'],
  pkce: { required: () => true },
  rotateRefreshToken: true,
  responseTypes: ['code'],
  ttl: {
    AccessToken: () => ACCESS_TTL, AuthorizationCode: 60, IdToken: 3600, RefreshToken: 86400,
    Session: 86400, Grant: 86400, Interaction: 3600,
  },
  async findAccount(ctx, sub) {
    return {
      accountId: sub,
      async claims() {
        return { sub, email: sub, email_verified: true, name: 'Alice Example', preferred_username: 'alice' };
      },
    };
  },
  // the default refuses loopback addresses, where the applications of these tests are
  fetch: (url, { dispatcher, ...options }) => globalThis.fetch(url, options),
  features: {
    backchannelLogout: { enabled: true },
    devInteractions: { enabled: true },
    revocation: { enabled: true },
    rpInitiatedLogout: { enabled: true },
  },
};

const server = http.createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, configuration);
  provider.on('server_error', (ctx, err) => console.error('server_error', err));
  if (process.env.TRACE) {
    for (const name of ['grant.error', 'authorization.error', 'grant.revoked', 'backchannel.error']) {
      provider.on(name, (ctx, err) => console.error(name, err?.error ?? '', err?.error_description ?? '', err?.error_detail ?? ''));
    }
  }
  server.on('request', provider.callback());
  console.log(`READY ${issuer}`);
});
const stop = () => { server.close(() => process.exit(0)); server.closeAllConnections(); };
process.on('SIGTERM', stop);
process.on('SIGINT', stop);
