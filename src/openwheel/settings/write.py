"""Changes one setting in a settings file, and leaves the rest of the file as it is."""

import os
import uuid
from pathlib import Path

from openwheel.errors import SettingError
from openwheel.settings.read import settings_of
from openwheel.settings.table import Settings


def set_in_task(path: Path, task: str, name: str, value: float) -> Settings:
    """Set a task's setting, and return all settings as the file has them then.

    The file is replaced whole, or stays as it was; one that is missing is made.

    Args:
        path: The file.
        task: The task's name.
        name: The setting's.
        value: Its value.

    Raises:
        SettingError: The file cannot be read or written, or the value is not valid.
    """
    # Here, so that only who changes settings loads it.
    import tomlkit  # noqa: PLC0415
    from tomlkit.exceptions import TOMLKitError  # noqa: PLC0415

    target = path.resolve()
    try:
        text = target.read_text(encoding="utf-8") if target.exists() else ""
        document = tomlkit.parse(text)
        tasks = document.setdefault("tasks", tomlkit.table(is_super_table=True))
        tasks.setdefault(task, tomlkit.table())[name] = value
        changed = tomlkit.dumps(document)
    except (OSError, UnicodeError) as error:
        raise SettingError(f"{path} cannot be read: {error}") from None
    except (TOMLKitError, TypeError, AttributeError) as error:
        raise SettingError(f"{path} cannot be changed: {error}") from None
    settings = settings_of(changed, str(path))
    scratch = target.with_name(f".{uuid.uuid4().hex}.toml")
    try:
        try:
            with scratch.open("x", encoding="utf-8") as file:
                file.write(changed)
                file.flush()
                os.fsync(file.fileno())
            if target.exists():
                scratch.chmod(target.stat().st_mode & 0o7777)
            scratch.replace(target)
        finally:
            scratch.unlink(missing_ok=True)
    except OSError as error:
        raise SettingError(f"{path} cannot be written: {error.strerror or error}") from None
    return settings
