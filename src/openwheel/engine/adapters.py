"""Adapters on a base model: standard PEFT folders, loaded, put in place and taken off."""

from pathlib import Path
from typing import Any

from openwheel.engine.base import Base
from openwheel.errors import ModelError, RequestError


class Adapters:
    """The adapters of one base model. For one thread at a time.

    Args:
        base: The model.
    """

    def __init__(self, base: Base) -> None:
        self._base = base
        self._peft: Any = None
        self._folders: dict[str, str] = {}

    def names(self) -> list[str]:
        """Return the names under which adapters are loaded."""
        return list(self._folders)

    def load(self, name: str, folder: str) -> None:
        """Load an adapter.

        Args:
            name: To be asked for by.
            folder: With ``adapter_config.json`` and ``adapter_model.safetensors``.

        Raises:
            ModelError: It is no such folder, or one for another model.
            RequestError: There is one of that name already.
        """
        if name in self._folders:
            raise RequestError(f"An adapter {name!r} is loaded already; unload it first")
        place = Path(folder)
        for wanted in ("adapter_config.json", "adapter_model.safetensors"):
            if not (place / wanted).is_file():
                raise ModelError(f"The adapter {name!r} has no {wanted} in {folder}")
        # Seconds of imports, which only who has adapters needs.
        from peft import PeftModel  # noqa: PLC0415
        from safetensors import SafetensorError  # noqa: PLC0415

        key = _key(name)
        try:
            if self._peft is None:
                self._peft = PeftModel.from_pretrained(
                    self._base.model, folder, adapter_name=key, is_trainable=False
                )
            else:
                self._peft.load_adapter(folder, adapter_name=key, is_trainable=False)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            reason = str(error).strip().partition("\n")[0]
            self._drop(key)
            raise ModelError(f"The adapter {name!r} cannot be loaded: {reason}") from None
        self._folders[name] = folder
        self._base.model.eval()
        self.use("")

    def unload(self, name: str) -> None:
        """Let an adapter go.

        Raises:
            RequestError: There is none of that name.
        """
        if name not in self._folders:
            raise RequestError(f"There is no adapter {name!r}")
        self.use("")
        del self._folders[name]
        self._drop(_key(name))

    def use(self, name: str) -> None:
        """Put an adapter in place, ``""`` for the base alone."""
        if self._peft is None:
            return
        if not name:
            self._peft.base_model.disable_adapter_layers()
            return
        self._peft.base_model.enable_adapter_layers()
        self._peft.set_adapter(_key(name), inference_mode=True)

    def _drop(self, key: str) -> None:
        if self._peft is None or key not in self._peft.peft_config:
            return
        if len(self._peft.peft_config) == 1:
            # PEFT keeps no model without an adapter: the layers are put back as they were.
            self._peft.base_model.unload()
            self._peft = None
        else:
            self._peft.delete_adapter(key)


def _key(name: str) -> str:
    """Return a name that can stand in a module's path, which has no dots."""
    return "adapter_" + name.encode().hex()
