// Every call of Segment's SDK for Node, and then a flush. Arguments: the host, the write key, a user id.
// Prints one JSON object: how many events the SDK reports as accepted, and its errors.
const { Analytics } = require('@segment/analytics-node')

const [host, writeKey, userId] = process.argv.slice(2)
const result = { accepted: 0, errors: [] }
const analytics = new Analytics({ host, writeKey, flushAt: 4, flushInterval: 100 })
analytics.on('error', (error) => result.errors.push(String(error.reason ?? error)))
const count = (error) => { result.accepted += error ? 0 : 1 }

analytics.identify({ userId, traits: { email: `${userId}@example.com`, firstName: 'Ada' } }, count)
analytics.track({ userId, event: 'Product Viewed', properties: { product_id: 'mug-1' } }, count)
analytics.track({
  userId,
  event: 'Order Completed',
  properties: { order_id: `o-${userId}`, total: 59.9, products: [{ product_id: 'mug-1', name: 'Mug', price: 29.95 }] },
}, count)
analytics.page({ userId, category: 'Shop', name: 'Cart' }, count)
analytics.screen({ userId, name: 'Cart' }, count)
analytics.group({ userId, groupId: 'group-1' }, count)
analytics.alias({ userId, previousId: `old-${userId}` }, count)
for (let n = 0; n < 100; n++) {
  analytics.track({ anonymousId: `device-${n}`, event: 'Product Viewed', properties: { product_id: `p-${n}` } }, count)
}
analytics.closeAndFlush({ timeout: 20000 }).then(() => console.log(JSON.stringify(result)))
