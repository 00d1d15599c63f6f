"""Check of whether the Hugging Face Hub has a repository, with one request and a time limit.

transformers and datasets retry for most of a minute if there is no network.
"""

from __future__ import annotations

from typing import Literal

import httpx2
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from softprompt.errors import RepositoryNotFound, summarize_error

HUB_TIMEOUT_S = 10.0


def probe_hub_repo(repo_type: Literal["model", "dataset"], repo_id: str) -> str | None:
    """Check whether the Hub has a model or data set.

    Returns:
        None if the repository exists, else the reason why the Hub could not be asked.

    Raises:
        RepositoryNotFound: the repository does not exist or is hidden from this account.
    """
    missing = "not on the Hub"
    try:
        HfApi().repo_info(repo_id, repo_type=repo_type, timeout=HUB_TIMEOUT_S)
    except HFValidationError as error:
        raise RepositoryNotFound(missing) from error
    except HfHubHTTPError as error:
        if error.response.status_code in (401, 403, 404):
            raise RepositoryNotFound(f"{missing} (or it is private: `hf auth login`)") from error
        return f"the Hub responded with status {error.response.status_code}: try again later"
    except (httpx2.HTTPError, OSError) as error:
        return summarize_error(error)
    return None
