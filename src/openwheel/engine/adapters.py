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
        from safetensors import SafetensorError  # noqa: PLC0415 - only where a model runs

        try:
            self._inject(_key(name), folder)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            reason = str(error).strip().partition("\n")[0]
            self._drop(_key(name))
            self.use("")
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

    def _inject(self, key: str, folder: str) -> None:
        # Seconds of imports, which only who has adapters needs.
        from peft import PeftConfig, PeftModel  # noqa: PLC0415

        if self._peft is None:
            config = PeftConfig.from_pretrained(folder)
            config.inference_mode = True
            self._peft = PeftModel(self._base.model, config, adapter_name=key)
        # Weights that are missing or too many are no error to PEFT.
        found = self._peft.load_adapter(folder, adapter_name=key, is_trainable=False)
        wrong = [name for name in found.missing_keys if f".{key}" in name]
        wrong += found.unexpected_keys
        if wrong:
            raise ValueError(f"its weights are not those of this model: {wrong[0]}")

    def _drop(self, key: str) -> None:
        peft = self._peft
        if peft is not None and key in peft.peft_config and len(peft.peft_config) > 1:
            peft.delete_adapter(key)
        elif not self._folders:
            # PEFT keeps no model without an adapter: the layers are put back as they were.
            if peft is not None:
                peft.base_model.unload()
            self._peft = None
            if hasattr(self._base.model, "peft_config"):
                del self._base.model.peft_config


def _key(name: str) -> str:
    """Return a name that can stand in a module's path, which has no dots."""
    return "adapter_" + name.encode().hex()
