// An issuer that signs whatever claims and header it is told (oauth2-mock-server): POST /token with `claims` and `header`
// as JSON. A member that is null is left out.
import { OAuth2Server } from 'oauth2-mock-server';

const server = new OAuth2Server();
await server.issuer.keys.generate('RS256', { kid: 'rs-0' });
const change = (object, text) => {
  Object.assign(object, JSON.parse(text ?? '{}'));
  for (const name of Object.keys(object)) if (object[name] === null) delete object[name];
};
server.service.on('beforeTokenSigning', (token, request) => {
  change(token.payload, request.body?.claims); change(token.header, request.body?.header);
});
await server.start(Number(process.env.PORT), '127.0.0.1');
server.issuer.url = `http://127.0.0.1:${process.env.PORT}`;
