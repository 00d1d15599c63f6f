"""Every task there is, as a saved prompt's manifest names it by its `kind`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from softprompt.tasks.classification import ClassificationTask
from softprompt.tasks.generation import GenerationTask

Task = Annotated[ClassificationTask | GenerationTask, Field(discriminator="kind")]
