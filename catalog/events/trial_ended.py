"""Trial Ended: a trial ends.

Recorded on the trail; starts no mail.

Segment: docs, connections/spec/b2b-saas.md. mParticle: a custom event of the same name. Tealium: `trial_ended`.
Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from freshgate import EventType, From

TRIAL_ENDED = EventType(
    name="Trial Ended",
    fields={"trial_start_date": "time", "trial_end_date": "time", "trial_plan_name": "text"},
    sources={
        "segment": From(
            when={"type": "track", "event": ("Trial Ended", "Ended Trial")},
            paths={
                "trial_start_date": ("properties.trial_start_date", "properties.trialStartDate"),
                "trial_end_date": ("properties.trial_end_date", "properties.trialEndDate"),
                "trial_plan_name": ("properties.trial_plan_name", "properties.trialPlanName"),
            },
        ),
        "mparticle": From(
            when={"event_type": "custom_event", "data.event_name": "Trial Ended"},
            paths={
                "trial_start_date": (
                    "data.custom_attributes.trial_start_date",
                    "data.custom_attributes.trialStartDate",
                ),
                "trial_end_date": ("data.custom_attributes.trial_end_date", "data.custom_attributes.trialEndDate"),
                "trial_plan_name": ("data.custom_attributes.trial_plan_name", "data.custom_attributes.trialPlanName"),
            },
        ),
        "tealium": From(
            when={"tealium_event": "trial_ended"},
            paths={
                "trial_start_date": "trial_start_date",
                "trial_end_date": "trial_end_date",
                "trial_plan_name": "trial_plan_name",
            },
        ),
    },
)
