"""From stories to OpenAI's answers, whole or in pieces."""

import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from tinytale.addons.inspection.page_data import token_text
from tinytale.addons.serve.scheduler import Job
from tinytale.addons.serve.schema import ChatRequest, CompletionRequest
from tinytale.data.tokenizer import Tokenizer
from tinytale.generation.stopping import StoryText
from tinytale.generation.stories import TokenRecord


@dataclass
class Telling:
    """One choice of an answer, and how much of it has been sent."""

    job: Job
    index: int
    taken: int = 0
    """Tokens that pieces were made of."""
    over: bool = False
    """Whether its last piece, or its error, has been taken."""

    def __post_init__(self) -> None:
        self._text = StoryText(self.job.writer.tokenizer, self.job.writer.stop)

    def news(self) -> tuple[str, list[TokenRecord]]:
        """Text and tokens that have come since the last look."""
        self.over = ended = self.job.done and not self.job.error
        writer, begin = self.job.writer, self.taken
        tokens = writer.tokens[begin:]  # at once: the decoding thread adds more
        self.taken += len(tokens)
        text = self._text.feed(*tokens) + (self._text.finish() if ended else "")
        if tokens[-1:] == [writer.tokenizer.end_of_text]:
            tokens.pop()
        return text, writer.records[begin : begin + len(tokens)]

    @property
    def finish_reason(self) -> str | None:
        """Why it ended; None before its last piece."""
        if not self.over:
            return None
        return "length" if self.job.writer.ended == "limit" else "stop"


@dataclass(frozen=True)
class Answer:
    """Writes the JSON of one request's answer."""

    request: CompletionRequest | ChatRequest
    tokenizer: Tokenizer
    prompt_tokens: int
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def chat(self) -> bool:
        """Whether it is a chat's."""
        return isinstance(self.request, ChatRequest)

    def whole(self, tellings: list[Telling]) -> dict[str, Any]:
        """The answer when all choices are told."""
        choices = []
        for telling in tellings:
            text, records = telling.news()
            content = {"message": {"role": "assistant", "content": text}} if self.chat else {"text": text}
            choices.append(self._choice(telling, content, records))
        kind = "chat.completion" if self.chat else "text_completion"
        return {**self._frame(kind), "choices": choices, "usage": self.usage(tellings)}

    def piece(self, telling: Telling, tellings: list[Telling]) -> dict[str, Any] | None:
        """What has come of a choice, one of these, since its last piece; None if nothing has."""
        begin = telling.taken
        text, records = telling.news()
        if telling.taken == begin and not text and telling.finish_reason is None:
            return None
        delta = {"role": "assistant", "content": text} if not begin else {"content": text}
        content = {"delta": delta} if self.chat else {"text": text}
        usage = {"usage": self.usage(tellings)} if self.request.usage_in_every_piece else {}
        return {**self._frame(self._piece_kind), "choices": [self._choice(telling, content, records)], **usage}

    def last_piece(self, tellings: list[Telling]) -> dict[str, Any]:
        """The counts, after all pieces."""
        return {**self._frame(self._piece_kind), "choices": [], "usage": self.usage(tellings)}

    def usage(self, tellings: list[Telling]) -> dict[str, int]:
        """Tokens read and told; the opening end of text is one of those read."""
        told = sum(len(telling.job.writer.tokens) for telling in tellings)
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": told,
            "total_tokens": self.prompt_tokens + told,
        }

    @property
    def _piece_kind(self) -> str:
        return "chat.completion.chunk" if self.chat else "text_completion"

    def _frame(self, kind: str) -> dict[str, Any]:
        prefix = "chatcmpl" if self.chat else "cmpl"
        return {"id": f"{prefix}-{self.id}", "object": kind, "created": self.created, "model": self.request.model}

    def _choice(self, telling: Telling, content: dict[str, Any], records: list[TokenRecord]) -> dict[str, Any]:
        logprobs = None
        if self.chat and self.request.logprobs:
            logprobs = {"content": [self._chat_logprob(record) for record in records]}
        elif not self.chat and self.request.logprobs is not None:
            logprobs = self._completion_logprobs(records)
        return {
            "index": telling.index,
            **content,
            "logprobs": logprobs,
            "finish_reason": telling.finish_reason,
        }

    def _completion_logprobs(self, records: list[TokenRecord]) -> dict[str, Any]:
        return {
            "tokens": [self._text(record.token) for record in records],
            "token_logprobs": [record.log_probability for record in records],
            "top_logprobs": [
                {self._text(token): log_probability for token, log_probability in record.alternatives}
                for record in records
            ],
        }

    def _chat_logprob(self, record: TokenRecord) -> dict[str, Any]:
        alternatives = [self._scored(token, log_probability) for token, log_probability in record.alternatives]
        return {**self._scored(record.token, record.log_probability), "top_logprobs": alternatives}

    def _scored(self, token: int, log_probability: float) -> dict[str, Any]:
        raw = list(self.tokenizer.token_bytes(token))
        return {"token": self._text(token), "logprob": log_probability, "bytes": raw}

    def _text(self, token: int) -> str:
        return token_text(self.tokenizer, token)
