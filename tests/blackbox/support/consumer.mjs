// The JavaScript SDK v3 and sqs-consumer against the listener whose address is the first argument: a message with
// attributes, a refusal, and a batch that the consumer takes. Prints one line of JSON.
import {
  CreateQueueCommand, DeleteMessageCommand, GetQueueAttributesCommand, QueueDoesNotExist, ReceiveMessageCommand,
  SQSClient, SendMessageBatchCommand, SendMessageCommand,
} from "@aws-sdk/client-sqs";
import { Consumer } from "sqs-consumer";

const [, , endpoint, accessKeyId, secretAccessKey] = process.argv;
const sqs = new SQSClient({ endpoint, region: "eu-west-1", credentials: { accessKeyId, secretAccessKey }, maxAttempts: 1 });
const said = {};

const { QueueUrl } = await sqs.send(new CreateQueueCommand({ QueueName: "from-js", tags: { a: "b" } }));
await sqs.send(new SendMessageCommand({
  QueueUrl, MessageBody: "hé 🎈", MessageAttributes: { bytes: { DataType: "Binary", BinaryValue: new Uint8Array([0, 255]) } },
}));
const received = await sqs.send(new ReceiveMessageCommand({ QueueUrl, MessageAttributeNames: ["All"], WaitTimeSeconds: 1 }));
const [message] = received.Messages;
said.body = message.Body;
said.bytes = [...message.MessageAttributes.bytes.BinaryValue];
await sqs.send(new DeleteMessageCommand({ QueueUrl, ReceiptHandle: message.ReceiptHandle }));
try {
  await sqs.send(new SendMessageCommand({ QueueUrl: `${QueueUrl}-missing`, MessageBody: "x" }));
} catch (error) {
  said.missing = error instanceof QueueDoesNotExist && error.Code;
}

const Entries = [...Array(10).keys()].map((n) => ({ Id: `${n}`, MessageBody: `m${n}` }));
await sqs.send(new SendMessageBatchCommand({ QueueUrl, Entries }));
said.consumed = [];
const consumer = Consumer.create({
  queueUrl: QueueUrl, sqs, batchSize: 10, waitTimeSeconds: 1,
  handleMessage: async (one) => { said.consumed.push(one.Body); return one; },
});
await new Promise((resolve, reject) => {
  consumer.on("error", reject);
  consumer.on("processing_error", reject);
  consumer.on("response_processed", () => said.consumed.length >= Entries.length && resolve());
  setTimeout(() => reject(new Error("the consumer is late")), 20_000).unref();
  consumer.start();
});
consumer.stop({ abort: true });
const left = await sqs.send(new GetQueueAttributesCommand({ QueueUrl, AttributeNames: ["All"] }));
said.left = Number(left.Attributes.ApproximateNumberOfMessages) + Number(left.Attributes.ApproximateNumberOfMessagesNotVisible);
console.log(JSON.stringify(said));
process.exit(0);
