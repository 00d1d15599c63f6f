"""The form of an upload: its fields, its files, and its description in OpenAPI."""

from __future__ import annotations

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import FormData, UploadFile

from softprompt.server.api_errors import ApiError
from softprompt.server.prompts.upload_validator import MANIFEST_FILE, PEFT_FILES, TENSORS_FILE


class UploadRequest(BaseModel):
    """The form fields of an upload, without its files."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=100, description="The prompt's name. An existing name gets a new version.")
    activate: bool = Field(default=True, description="Whether to point the alias `active` to this version.")
    note: str = Field(default="", max_length=1000, description="A note about the version.")


_FORM_SCHEMA = {
    "type": "object",
    "required": ["name", "file"],
    "properties": {
        **UploadRequest.model_json_schema()["properties"],
        "file": {
            "type": "array",
            "items": {"type": "string", "format": "binary"},
            "description": f"{MANIFEST_FILE} and {TENSORS_FILE}, or {MANIFEST_FILE}, {' and '.join(PEFT_FILES)}.",
        },
    },
}
UPLOAD_REQUEST_BODY = {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FORM_SCHEMA}}}}


def parse_form_fields(form: FormData) -> UploadRequest:
    """Parse the fields of a form, without the files.

    Raises:
        ApiError: the form has a field twice.
        RequestValidationError: a field is missing, unknown or invalid.
    """
    fields = [(name, value) for name, value in form.multi_items() if name != "file"]
    try:
        if len(dict(fields)) < len(fields):
            raise ApiError(400, "the form has a field twice: send each field once", code="invalid_value")
        return UploadRequest.model_validate(dict(fields))
    except ValidationError as error:
        problems = [{**each, "loc": ("body", *each["loc"])} for each in error.errors(include_input=False)]
        raise RequestValidationError(problems) from error


def parse_form_files(form: FormData) -> dict[str, UploadFile]:
    """Return the files of a form by name.

    Raises:
        ApiError: two files have the same name, or the form has no files.
    """
    uploads = [item for item in form.getlist("file") if isinstance(item, UploadFile)]
    files = {file.filename or "": file for file in uploads}
    if len(files) < len(uploads):
        raise ApiError(
            400, "the form has two files of the same name: send each file once", param="file", code="invalid_value"
        )
    if not files:
        raise ApiError(
            400, f"the form has no files: send {MANIFEST_FILE} and the other files, each as 'file'", param="file"
        )
    return files
