// Signs the requests of a JSON list on standard input by the vendor's JavaScript signer, and by aws4; prints their headers.
// { signer, method, path, body, host, region, service, key, secret, token?, presign? } -> { path, headers }
import { createRequire } from 'node:module';
const require = createRequire(process.env.PACKAGES + '/');
const { SignatureV4 } = require('@smithy/signature-v4');
const { Sha256 } = require('@aws-crypto/sha256-js');
const aws4 = require('aws4');

const read = async () => { let text = ''; for await (const piece of process.stdin) text += piece; return JSON.parse(text); };

function query(text) {
  const pairs = {};
  for (const [name, value] of new URLSearchParams(text)) {
    pairs[name] = name in pairs ? [].concat(pairs[name], value) : value;
  }
  return pairs;
}

const escape = (text) => encodeURIComponent(text).replace(/[!'()*]/g, (c) => '%' + c.charCodeAt(0).toString(16).toUpperCase());
const spelled = (pairs) => Object.entries(pairs).flatMap(([name, value]) => [].concat(value).map((one) => `${escape(name)}=${escape(one)}`)).join('&');

async function smithy(one) {
  const [path, text = ''] = one.path.split('?');
  const credentials = { accessKeyId: one.key, secretAccessKey: one.secret, sessionToken: one.token };
  const signer = new SignatureV4({ credentials, region: one.region, service: one.service, sha256: Sha256 });
  const request = { method: one.method, protocol: 'http:', hostname: one.host, path, query: query(text), headers: { host: one.host }, body: one.body };
  const signed = await (one.presign ? signer.presign(request, { expiresIn: 300 }) : signer.sign(request));
  const sent = spelled(signed.query ?? {});
  return { path: sent ? `${path}?${sent}` : path, headers: signed.headers };
}

function aws4Signed(one) {
  // aws4 leaves it to its caller how long a link is good.
  const path = one.presign ? `${one.path}${one.path.includes('?') ? '&' : '?'}X-Amz-Expires=300` : one.path;
  const request = { method: one.method, host: one.host, path, body: one.body, region: one.region, service: one.service, signQuery: one.presign };
  const signed = aws4.sign(request, { accessKeyId: one.key, secretAccessKey: one.secret, sessionToken: one.token });
  return { path: signed.path, headers: Object.fromEntries(Object.entries(signed.headers ?? {}).map(([k, v]) => [k, String(v)])) };
}

const answers = [];
for (const one of await read()) answers.push(one.signer === 'smithy' ? await smithy(one) : aws4Signed(one));
console.log(JSON.stringify(answers));
