"""mParticle's webhook, raw data feed and Firehose."""
