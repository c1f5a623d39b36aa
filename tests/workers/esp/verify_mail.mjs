// Reads a mail from stdin, and prints as JSON what mailauth says of its signature and mailparser of its headers.
// The DNS record of the key is the argument.
import { createRequire } from 'node:module';

const require = createRequire(`${process.env.NODE_MODULES}/`);
const { dkimVerify } = require('mailauth/lib/dkim/verify');
const { simpleParser } = require('mailparser');
const [record] = process.argv.slice(2);
const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const raw = Buffer.concat(chunks);
const names = [];
const resolver = async (name) => {
  names.push(name);
  return [[record]];
};
const { results } = await dkimVerify(raw, { resolver });
const mail = await simpleParser(raw);
console.log(JSON.stringify({
  names,
  results: results.map(({ status, signingDomain, signingHeaders, format }) => ({
    result: status.result, domain: signingDomain, headers: signingHeaders?.keys, format })),
  list: mail.headers.get('list'),
  post: mail.headers.get('list-unsubscribe-post'),
  subject: mail.subject,
  from: mail.from?.text,
  messageId: mail.messageId,
  text: mail.text,
  html: mail.html,
}));
