// A peer of the gateway in the benches: Fastify and the AWS SDK for JavaScript, one SendMessage a request, as its
// documentation writes it. Prints where it listens on stderr.
//   node fastify.mjs ENDPOINT
import Fastify from 'fastify';
import { SQSClient, SendMessageCommand } from '@aws-sdk/client-sqs';
import { NodeHttpHandler } from '@smithy/node-http-handler';
import { Agent } from 'node:http';

const sqs = new SQSClient({
  endpoint: process.argv[2],
  requestHandler: new NodeHttpHandler({ httpAgent: new Agent({ keepAlive: true, maxSockets: 256 }) }),
});
const QueueUrl = 'https://sqs.eu-west-1.amazonaws.com/111122223333/orders';
const app = Fastify({ logger: false });
app.addContentTypeParser('*', { parseAs: 'string' }, (_, body, done) => done(null, body));
app.post('/orders', async (request, reply) => {
  try {
    const sent = await sqs.send(new SendMessageCommand({ QueueUrl, MessageBody: request.body }));
    return reply.code(202).send({ messageId: sent.MessageId });
  } catch (error) {
    return reply.code(503).send({ error: error.name });
  }
});
const address = await app.listen({ host: '127.0.0.1', port: 0 });
console.error(`listening on ${address}`);
console.error('ready');
