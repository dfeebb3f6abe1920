"""The part of OpenAI's chat completions protocol that the offline model reads. Unknown fields are ignored."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, PositiveInt, ValidationError

JsonSchema = dict[str, JsonValue]


class InvalidRequest(Exception):
    """A request that is answered with OpenAI's error shape and this status; `param` names the invalid field."""

    def __init__(self, message: str, *, param: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.param = param
        self.status = status

    @classmethod
    def from_validation(cls, error: ValidationError) -> "InvalidRequest":
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        param = ".".join(map(str, first["loc"])) or None
        return cls(f"{param or 'body'}: {first['msg']}", param=param)


class Part(BaseModel):
    """A part of a message; the offline model reads text parts."""

    model_config = ConfigDict(extra="ignore")

    type: str
    text: str = ""


class Message(BaseModel):
    """A message of the prompt."""

    model_config = ConfigDict(extra="ignore")

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[Part] | None = None
    name: str | None = None

    @property
    def text(self) -> str:
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text for part in self.content or () if part.text)


class Function(BaseModel):
    """An offered function, with its parameters as a JSON schema."""

    model_config = ConfigDict(extra="ignore")

    name: Annotated[str, Field(min_length=1, max_length=128)]
    parameters: JsonSchema = Field(default_factory=dict)


class Tool(BaseModel):
    """An offered tool."""

    model_config = ConfigDict(extra="ignore")

    type: Literal["function"]
    function: Function


class FunctionName(BaseModel):
    """The name in a required choice."""

    model_config = ConfigDict(extra="ignore")

    name: str


class ForcedTool(BaseModel):
    """The choice of one required function."""

    model_config = ConfigDict(extra="ignore")

    type: Literal["function"]
    function: FunctionName


class StreamOptions(BaseModel):
    """Options of a stream."""

    model_config = ConfigDict(extra="ignore")

    include_usage: bool = False


class NamedSchema(BaseModel):
    """The schema of a structured answer."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)

    schema_: JsonSchema = Field(default_factory=dict, alias="schema")


class ResponseFormat(BaseModel):
    """The required format of the answer's text."""

    model_config = ConfigDict(extra="ignore")

    type: Literal["text", "json_object", "json_schema"] = "text"
    json_schema: NamedSchema | None = None


class ChatRequest(BaseModel):
    """The body of `POST /v1/chat/completions`."""

    model_config = ConfigDict(extra="ignore")

    model: Annotated[str, Field(min_length=1)]
    messages: Annotated[list[Message], Field(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    tools: list[Tool] | None = None
    tool_choice: Literal["none", "auto", "required"] | ForcedTool | None = None
    max_tokens: PositiveInt | None = None
    max_completion_tokens: PositiveInt | None = None
    response_format: ResponseFormat | None = None

    @property
    def token_limit(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens

    @property
    def prompt_chars(self) -> int:
        return sum(len(message.text) for message in self.messages)

    def required_functions(self) -> list[Function]:
        """Return the functions of which the answer must call one; none = text is allowed.

        Raises:
            InvalidRequest: a required tool is not offered.
        """
        offered = [tool.function for tool in self.tools or ()]
        if self.tool_choice == "required":
            if not offered:
                raise InvalidRequest("tool_choice: 'required' needs at least one tool in 'tools'", param="tool_choice")
            return offered
        if not isinstance(self.tool_choice, ForcedTool):
            return []
        wanted = self.tool_choice.function.name
        if found := [function for function in offered if function.name == wanted]:
            return found
        raise InvalidRequest(f"tool_choice: no tool named {wanted!r} in 'tools'", param="tool_choice.function.name")


def parse_request(body: bytes) -> ChatRequest:
    """Read a request's body.

    Raises:
        InvalidRequest: with the first field that is wrong.
    """
    try:
        return ChatRequest.model_validate_json(body)
    except ValidationError as error:
        raise InvalidRequest.from_validation(error) from error
