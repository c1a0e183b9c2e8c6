"""Every setting in one table: its name, type, limits, default and help.

`openwheel.toml` is read into these structs; the CLI's options override it; the docs list them and
a test holds the docs to it. Knows nothing of what the settings are for.
"""

from openwheel.settings.models import (
    CatalogSection,
    EngineSection,
    LmSection,
    PolicySection,
    Precision,
)
from openwheel.settings.names import LOCAL, REPLAY, teacher_names, teacher_prices
from openwheel.settings.read import (
    SettingRow,
    override,
    read_settings,
    read_toml,
    setting_rows,
)
from openwheel.settings.table import (
    AccessSection,
    AlertKind,
    AlertSection,
    CaptureSection,
    ConsoleSection,
    EdgeSection,
    GatewaySection,
    HappeningKind,
    LogSection,
    LoopSection,
    Settings,
    StoreSection,
    TaskSection,
    TeacherSection,
    TelemetrySection,
)
from openwheel.settings.write import set_in_task

__all__ = [
    "LOCAL",
    "REPLAY",
    "AccessSection",
    "AlertKind",
    "AlertSection",
    "CaptureSection",
    "CatalogSection",
    "ConsoleSection",
    "EdgeSection",
    "EngineSection",
    "GatewaySection",
    "HappeningKind",
    "LmSection",
    "LogSection",
    "LoopSection",
    "PolicySection",
    "Precision",
    "SettingRow",
    "Settings",
    "StoreSection",
    "TaskSection",
    "TeacherSection",
    "TelemetrySection",
    "override",
    "read_settings",
    "read_toml",
    "set_in_task",
    "setting_rows",
    "teacher_names",
    "teacher_prices",
]
