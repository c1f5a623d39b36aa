// A batch by mParticle's own event models: a purchase, a look at a product, a custom event. Argument: their time (ms).
const { EventTypeEnum, IdentityTypeEnum, ProductActionActionEnum, BatchEnvironmentEnum } = require('@mparticle/event-models')

const at = Number(process.argv[2])
const products = [{ id: 'mug-1', name: 'Mug', price: 29.95, quantity: 2 }]
const commerce = (number, product_action) => ({
  event_type: EventTypeEnum.commerceEvent,
  data: { source_message_id: `m-${number}`, timestamp_unixtime_ms: at, currency_code: 'EUR', product_action },
})
const purchase = { action: ProductActionActionEnum.purchase, products, transaction_id: 'o-1', total_amount: 59.9 }
const batch = {
  environment: BatchEnvironmentEnum.production,
  mpid: '-42',
  user_identities: { [IdentityTypeEnum.customerId]: 'ada', [IdentityTypeEnum.email]: 'ada@example.com' },
  user_attributes: { $firstname: 'Ada' },
  events: [
    commerce(1, purchase),
    commerce(2, { action: ProductActionActionEnum.viewDetail, products }),
    {
      event_type: EventTypeEnum.customEvent,
      data: { source_message_id: 'm-3', timestamp_unixtime_ms: at, event_name: 'Signed Up', custom_event_type: 'other' },
    },
  ],
}
console.log(JSON.stringify(batch))
