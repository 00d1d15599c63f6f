"""Ask the Hugging Face Hub once, with a limit of time, whether it has something.

transformers and datasets would go on trying for most of a minute where there is no network.
"""

from __future__ import annotations

from typing import Literal

import httpx2
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from softprompt.errors import RepositoryNotFound, first_line

TIMEOUT_SECONDS = 10.0


def why_unreachable(kind: Literal["model", "dataset"], name: str) -> str | None:
    """Ask whether the Hub has a model or data set; None if it has, else why it could not be asked.

    Raises:
        RepositoryNotFound: it has none of this name, as far as this account can see.
    """
    missing = "not on the Hub"
    try:
        HfApi().repo_info(name, repo_type=kind, timeout=TIMEOUT_SECONDS)
    except HFValidationError as error:
        raise RepositoryNotFound(missing) from error
    except HfHubHTTPError as error:
        if error.response.status_code in (401, 403, 404):
            raise RepositoryNotFound(f"{missing} (or it is private: `hf auth login`)") from error
        return f"it answered {error.response.status_code}: try again later"
    except (httpx2.HTTPError, OSError) as error:
        return first_line(error)
    return None
