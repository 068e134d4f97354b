"""What may be asked of the server, in OpenAI's terms, and what it answers.

Fields of OpenAI's that would change the answer, and that are not supported, are refused; what is unknown is ignored.
"""

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from tinytale.config import TEMPERATURE

LONGEST_PROMPT = 20_000
"""Characters; a context is shorter."""
MOST_CHOICES = 8
NEUTRAL: dict[str, Any] = {
    "echo": False,
    "frequency_penalty": 0,
    "functions": [],
    "logit_bias": {},
    "modalities": ["text"],
    "presence_penalty": 0,
    "response_format": {"type": "text"},
    "suffix": "",
    "tools": [],
}
"""What OpenAI knows and this server does not have, with the value that asks for nothing."""
OFF: dict[str, tuple[int, ...]] = {"max_completion_tokens": (-1,), "max_tokens": (-1,), "min_p": (0,), "top_k": (0, -1)}
"""How clients of other servers leave a setting at its default."""
STOP = Annotated[str, StringConstraints(min_length=1, max_length=100)]


class Settings(BaseModel):
    """What every request for stories may say."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    model: str
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] = TEMPERATURE
    """0 takes the likeliest token always."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    top_k: Annotated[int, Field(ge=1)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: float = 1.0
    """Not OpenAI's; other servers have it by this name. Its range is the sampler's."""
    n: Annotated[int, Field(ge=1, le=MOST_CHOICES)] = 1
    stop: STOP | Annotated[list[STOP], Field(max_length=4)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    stream: bool = False
    stream_options: dict[str, Any] | None = None

    @model_validator(mode="before")
    @classmethod
    def _as_clients_write_it(cls, content: Any) -> Any:
        """A null leaves a setting at its default, and so does what other servers know as off; what is not supported may
        be there as long as it asks for nothing.
        """
        if not isinstance(content, dict):
            return content
        given = {
            name: value
            for name, value in content.items()
            if value is not None and (isinstance(value, bool) or value not in OFF.get(name, ()))
        }
        if given.get("logprobs") is False:
            del given["logprobs"]
        for name, neutral in {**NEUTRAL, "best_of": given.get("n", 1)}.items():
            if given.get(name, neutral) != neutral:
                raise ValueError(f"{name} is not supported; leave it out")
        return given

    @property
    def stops(self) -> list[str]:
        """The stop strings."""
        return [self.stop] if isinstance(self.stop, str) else self.stop or []

    @property
    def usage_at_the_end(self) -> bool:
        """Whether a stream ends with the counts."""
        return bool((self.stream_options or {}).get("include_usage"))

    @property
    def usage_in_every_piece(self) -> bool:
        """Whether each piece of a stream has the counts so far, since a piece may hold several tokens."""
        return bool((self.stream_options or {}).get("continuous_usage_stats"))


class CompletionRequest(Settings):
    """`POST /v1/completions`."""

    prompt: Annotated[str, StringConstraints(max_length=LONGEST_PROMPT)] = ""
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    """How many of the likeliest tokens are given at each place."""

    @property
    def alternatives(self) -> int | None:
        """How many of the likeliest tokens are given at each place; None: no log-probabilities at all."""
        return self.logprobs

    @property
    def text(self) -> str:
        """What the story begins with."""
        return self.prompt


class TextPart(BaseModel):
    """A part of a turn; there are no pictures or sounds here."""

    model_config = ConfigDict(strict=True)

    type: Literal["text"]
    text: Annotated[str, StringConstraints(max_length=LONGEST_PROMPT)]


class Message(BaseModel):
    """One turn of a chat."""

    model_config = ConfigDict(strict=True)

    role: str
    content: (
        Annotated[str, StringConstraints(max_length=LONGEST_PROMPT)] | Annotated[list[TextPart], Field(max_length=100)]
    )

    @property
    def text(self) -> str:
        """What it says, whole."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class ChatRequest(Settings):
    """`POST /v1/chat/completions`: the turns make one text, and the story goes on from its end."""

    max_tokens: Annotated[int, Field(ge=1)] | None = Field(
        default=None, validation_alias=AliasChoices("max_completion_tokens", "max_tokens")
    )
    """OpenAI has renamed it for chats; both names are known, the new one goes first."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=100)]
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=5)] | None = None

    @field_validator("messages")
    @classmethod
    def _not_too_long(cls, messages: list[Message]) -> list[Message]:
        characters = sum(len(message.text) for message in messages)
        if characters > LONGEST_PROMPT:
            raise ValueError(f"the messages have {characters:,} characters; together they may have {LONGEST_PROMPT:,}")
        return messages

    @property
    def alternatives(self) -> int | None:
        """How many of the likeliest tokens are given at each place; None: no log-probabilities at all."""
        return (self.top_logprobs or 0) if self.logprobs else None

    @property
    def text(self) -> str:
        """What the story begins with."""
        return "".join(message.text for message in self.messages)


class LookRequest(BaseModel):
    """`POST /api/look`."""

    model_config = ConfigDict(strict=True)

    model: str
    text: Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_PROMPT)]


def error_body(message: str, kind: Literal["invalid_request_error", "server_error"], code: str | None = None) -> dict:
    """An error as OpenAI's clients read it."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}
