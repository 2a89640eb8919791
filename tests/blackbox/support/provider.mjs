// A certified OpenID Connect provider (oidc-provider) with one client that gets JWT access tokens: RS256, or ES256 for
// resources whose name ends in it. PORT, TTL (seconds); SIGHUP makes new keys, with KEEP_OLD beside the old ones.
import http from 'node:http';
import * as oidc from 'oidc-provider';
import { generateKeyPair, exportJWK } from 'jose';

const Provider = oidc.Provider ?? oidc.default, PORT = process.env.PORT, ISS = `http://127.0.0.1:${PORT}`;
const key = async (alg, kid) => ({ ...(await exportJWK((await generateKeyPair(alg, { extractable: true })).privateKey)), alg, use: 'sig', kid });
let gen = 0, keys = [await key('RS256', 'rs-0'), await key('ES256', 'es-0')];
const make = () => new Provider(ISS, {
  jwks: { keys }, scopes: ['ingest', 'read'],
  clients: [{ client_id: 'dev', client_secret: 'dev-secret', grant_types: ['client_credentials'], redirect_uris: [], response_types: [] }],
  features: { devInteractions: { enabled: false }, clientCredentials: { enabled: true }, resourceIndicators: { enabled: true,
    defaultResource: () => 'urn:penstock:rs256', useGrantedResource: () => true,
    getResourceServerInfo: (ctx, resource) => ({ scope: 'ingest read', audience: resource, accessTokenFormat: 'jwt', accessTokenTTL: Number(process.env.TTL ?? 300),
      jwt: { sign: { alg: resource.endsWith('es256') ? 'ES256' : 'RS256' } } }) } },
});
let serve = make().callback();
http.createServer((request, response) => {
  if (request.url === '/generation') return response.end(String(gen));
  serve(request, response);
}).listen(PORT, '127.0.0.1');
process.on('SIGHUP', async () => {
  const fresh = [await key('RS256', `rs-${gen + 1}`), await key('ES256', `es-${gen + 1}`)];
  keys = [...fresh, ...(process.env.KEEP_OLD ? keys : [])]; serve = make().callback(); gen++;
});
