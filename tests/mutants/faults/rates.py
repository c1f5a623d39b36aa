"""Faults in `rates.lua`: rates, what 429 teaches, and pace. Each is (text, its replacement, what breaks)."""

from __future__ import annotations

FAULTS: tuple[tuple[str, str, str], ...] = (
    ("rate[2] / (rate[1] - burst + 1)", "rate[2] / rate[1]", "a burst lets a window have more than its rate"),
    ("math.floor((latest - slot) / interval) + 1", "math.floor((latest - slot) / interval) + 2", "a mail too many"),
    ("slot = math.max(slot or 0, now - (burst - 1) * interval)", "slot = slot or 0", "a pause saves up mails"),
    ("1000 / learned > interval", "1000 / learned < interval", "the faster of two limits holds"),
    ("math.floor((now - tonumber(pace.since)) / DAY)", "0", "the ramp does not grow"),
    ("if mails < ramp[4] then", "if true then", "the ramp never ends"),
    ("rate[1] / rate[2] < today[1] / today[2]", "false", "a ramp lets more leave than the pace"),
    (
        "asked.ramp and pace.ramp ~= asked.ramp[1]",
        "asked.ramp and not pace.ramp",
        "another ramp goes on with the old one",
    ),
    ("tonumber(pace.slot or now) + asked.mails * interval", "tonumber(pace.slot or now)", "no turn is given back"),
    ("grown < FORGOTTEN_AT and", "grown < math.huge and", "what was learned is never forgotten"),
    ("GROWTH * (now - tonumber(state.learned_at)) / 1000", "0", "what was learned never grows"),
    ("  if age < ECHO_MS then return end\n", "", "calls that were on their way say what is normal"),
    (
        "share >= normal + MIN_EXCESS",
        "share >= MIN_EXCESS",
        "429 that do not depend on the rate slow it down more and more",
    ),
    ("report.limited > 0 or window.best == 0", "true", "each 429 stops all"),
    (
        "math.max(0.1, tonumber(state.peak) * grown)",
        "tonumber(state.peak) * grown",
        "the learned limit falls to nothing",
    ),
    ("math.min(known or math.huge, set or math.huge,", "math.min(known or math.huge,", "more than what is set"),
    ("if age < LESSON_MS then", "if false then", "what is normal is never known"),
    (
        "math.min(math.max(report.limited, MIN_PAUSE), MAX_PAUSE)",
        "report.limited",
        "a pause is as short or long as the ESP says",
    ),
)
