// Every call of an SDK for Node that speaks Segment's API, and then a flush.
// Arguments: the package, the host, the write key, a user id, the time of the order (ISO). Prints one JSON object: its errors.
const [name, host, key, userId, at] = process.argv.slice(2)
const library = require(name)
const CALLS = 7
const errors = []
let ended = 0
const done = (error) => { ended += 1; if (error) errors.push(String(error)) }
let sdk, finish
if (name.startsWith('@rudderstack/')) {
  sdk = new (library.default ?? library)(key, { dataPlaneUrl: host, flushAt: 4, flushInterval: 100, gzip: true })
  finish = () => new Promise((resolve) => sdk.flush(resolve))
} else {
  sdk = new library.Analytics({ host, writeKey: key, flushAt: 4, flushInterval: 100 })
  sdk.on('error', (error) => errors.push(String(error.reason ?? error)))
  finish = () => sdk.closeAndFlush({ timeout: 20000 })
}
const products = [{ product_id: 'mug-1', name: 'Mug', price: 29.95, quantity: 2 }]
const order = { order_id: `o-${userId}`, total: 59.9, products }
sdk.identify({ userId, traits: { email: `${userId}@example.com`, firstName: 'Ada' } }, done)
sdk.track({ userId, event: 'Product Viewed', properties: { product_id: 'mug-1', name: 'Mug' } }, done)
sdk.track({ userId, event: 'Order Completed', timestamp: new Date(at), properties: order }, done)
sdk.page({ userId, name: 'Cart' }, done)
sdk.screen({ userId, name: 'Cart' }, done)
sdk.group({ userId, groupId: 'group-1' }, done)
sdk.alias({ userId, previousId: `old-${userId}` }, done)
// RudderStack's flush ends with its first batch; the others follow by themselves.
const end = () => { console.log(JSON.stringify({ errors, ended })); process.exit(0) }
const wait = () => (ended < CALLS ? setTimeout(wait, 50) : end())
finish().then(wait, (error) => { errors.push(String(error)); end() })
setTimeout(end, 30000).unref()
