/* The snippet for pages without a CDP: sends what a visitor does as Segment's calls. docs/BROWSER.md has its use. */
(function (window, document) {
  'use strict'
  var script = document.currentScript || document.querySelector('script[data-write-key]')
  var told = script.dataset
  var url = (told.host || new URL(script.src).origin) + '/v1/batch'
  var said = read('consent') // a refusal is stored too, else implied consent would apply on the next page
  var consented = said === null ? told.consent === 'implied' : said
  var sending = false
  var wait = 1000
  var waiting = [] // calls before consent, in memory only
  var shown = Date.now()
  var deepest = 0
  var left = false

  function read(name) {
    try { return JSON.parse(localStorage.getItem('freshgate.' + name)) } catch (_) { return null }
  }

  // Values that must not or cannot be stored (no consent, storage forbidden); they last as long as the page.
  var memory = {}
  function known(name) { return name in memory ? memory[name] : read(name) }

  function write(name, value) {
    try {
      if (!consented) throw 0
      localStorage.setItem('freshgate.' + name, JSON.stringify(value))
      delete memory[name]
    } catch (_) { memory[name] = value }
  }

  function id() {
    return crypto.randomUUID ? crypto.randomUUID() : Date.now().toString(36) + Math.random().toString(36).slice(2)
  }

  function bytes(call) { return new Blob([JSON.stringify(call)]).size }

  function add(call) {
    call.messageId = id() // set once, so that a repeated call counts as a duplicate
    call.timestamp = new Date().toISOString()
    if (consented) keep([call])
    else if (waiting.length < 50) waiting.push(call)
  }

  function keep(calls) {
    var anonymous = known('anonymous')
    if (!anonymous) write('anonymous', (anonymous = id()))
    var user = known('user')
    calls.forEach(function (call) {
      call.anonymousId = anonymous
      if (user && !call.userId) call.userId = user
    })
    // A call that Freshgate would refuse must not block the queue for ever.
    calls = calls.filter(function (call) { return bytes(call) < 32000 })
    write('queue', (known('queue') || []).concat(calls).slice(-200))
    send()
  }

  function send() {
    var queue = known('queue') || []
    if (sending || !consented || !queue.length || navigator.onLine === false) return
    var batch = []
    var size = 0
    // A keepalive request, which outlives the page, may have 64 KB.
    while (batch.length < queue.length && (size += bytes(queue[batch.length])) < 60000) {
      batch.push(queue[batch.length])
    }
    if (!batch.length) batch = [queue[0]]
    var ids = batch.map(function (call) { return call.messageId })
    var body = JSON.stringify({ writeKey: told.writeKey, sentAt: new Date().toISOString(), batch: batch })
    sending = true
    // text/plain needs no preflight.
    fetch(url, { method: 'POST', body: body, keepalive: true, headers: { 'Content-Type': 'text/plain' } })
      .then(function (answer) {
        if (answer.status === 429 || answer.status > 499) throw answer.status
        wait = 1000
        // Accepted, or refused for good. Another tab may have added calls meanwhile.
        write('queue', (known('queue') || []).filter(function (call) { return ids.indexOf(call.messageId) < 0 }))
        sending = false
        send()
      })
      .catch(function () {
        sending = false
        setTimeout(send, wait)
        wait = Math.min(wait * 2, 60000)
      })
  }

  function traits(given) { return { traits: Object.assign({}, known('traits'), given) } }

  var freshgate = {
    page: function (name, properties) {
      add({
        type: 'page',
        name: name || document.title,
        properties: Object.assign({ url: location.href, path: location.pathname, referrer: document.referrer }, properties),
        context: traits()
      })
    },
    track: function (event, properties) {
      add({ type: 'track', event: event, properties: properties || {}, context: traits() })
    },
    identify: function (userId, given) {
      if (userId && typeof userId === 'object') { given = userId; userId = null }
      if (userId) write('user', userId)
      write('traits', traits(given).traits)
      add({ type: 'identify', userId: userId || undefined, traits: given || {} })
    },
    consent: function (yes) {
      consented = !!yes
      if (yes) {
        memory.consent = true
        for (var name in memory) write(name, memory[name])
        keep(waiting.splice(0))
      } else {
        try {
          ['anonymous', 'user', 'traits', 'queue'].forEach(function (one) { localStorage.removeItem('freshgate.' + one) })
          localStorage.setItem('freshgate.consent', 'false')
        } catch (_) { /* storage is forbidden, so nothing is stored */ }
        memory = {}
        waiting = []
      }
    }
  }

  function properties(element) {
    var found = {}
    Array.prototype.forEach.call(element.attributes, function (one) {
      if (one.name.indexOf('data-freshgate-') === 0) found[one.name.slice(15)] = one.value
    })
    return found
  }

  document.addEventListener('click', function (event) {
    var element = event.target.closest && event.target.closest('[data-freshgate]:not(form)')
    if (element) freshgate.track(element.getAttribute('data-freshgate'), properties(element))
  }, true)

  document.addEventListener('submit', function (event) {
    var form = event.target
    var field = form.getAttribute('data-freshgate-identify')
    var email = field && form.elements[field] && form.elements[field].value
    if (email) freshgate.identify({ email: email })
    if (form.hasAttribute('data-freshgate')) {
      var said = properties(form)
      delete said.identify
      freshgate.track(form.getAttribute('data-freshgate'), said)
    }
  }, true)

  window.addEventListener('scroll', function () {
    var page = document.documentElement
    deepest = Math.max(deepest, (window.scrollY + window.innerHeight) / page.scrollHeight)
  }, { passive: true })

  function leave(event) {
    if (left || (event.type !== 'pagehide' && document.visibilityState !== 'hidden')) return
    left = true
    var depth = Math.max(deepest, window.innerHeight / document.documentElement.scrollHeight)
    freshgate.track('Page Left', {
      path: location.pathname,
      seconds: Math.round((Date.now() - shown) / 1000),
      scrolled: Math.min(100, Math.round(depth * 100))
    })
  }

  document.addEventListener('visibilitychange', leave)
  window.addEventListener('pagehide', leave)
  window.addEventListener('online', send)
  window.freshgate = freshgate
  if (told.page !== 'off') freshgate.page()
  send()
})(window, document)
