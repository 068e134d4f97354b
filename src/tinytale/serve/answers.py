"""From stories to OpenAI's answers, whole or in pieces."""

import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from tinytale.data.tokenizer import Tokenizer
from tinytale.generation.stories import TokenRecord
from tinytale.inspection.page_data import token_text
from tinytale.serve.scheduler import Job
from tinytale.serve.schema import ChatRequest, CompletionRequest


@dataclass
class Telling:
    """One choice of an answer, and how much of it has been sent."""

    job: Job
    index: int
    sent: str = ""
    records_sent: int = 0
    over: bool = False
    """Whether its last piece, or its error, has been taken."""

    def news(self) -> tuple[str, list[TokenRecord]]:
        """Text and tokens that have come since the last look."""
        self.over = ended = self.job.done and not self.job.error
        writer, whole = self.job.writer, "".join(self.job.writer.pieces)
        if ended:
            whole += writer.text.finish()
        text, self.sent = whole[len(self.sent) :], whole
        records = writer.records[self.records_sent :]
        self.records_sent = len(writer.records)
        if records and records[-1].token == writer.end_of_text:
            records = records[:-1]
        return text, records

    @property
    def finish_reason(self) -> str | None:
        """Why it ended; None before its last piece."""
        writer = self.job.writer
        if not self.over:
            return None
        if writer.text.stopped or writer.records[-1].token == writer.end_of_text:
            return "stop"
        return "length"


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
        first = not telling.records_sent
        text, records = telling.news()
        if not text and not records and telling.finish_reason is None:
            return None
        delta = {"role": "assistant", "content": text} if first else {"content": text}
        content = {"delta": delta} if self.chat else {"text": text}
        usage = {"usage": self.usage(tellings)} if self.request.usage_in_every_piece else {}
        return {**self._frame(self._piece_kind), "choices": [self._choice(telling, content, records)], **usage}

    def last_piece(self, tellings: list[Telling]) -> dict[str, Any]:
        """The counts, after all pieces."""
        return {**self._frame(self._piece_kind), "choices": [], "usage": self.usage(tellings)}

    def usage(self, tellings: list[Telling]) -> dict[str, int]:
        """Tokens read and told; the opening end of text is one of those read."""
        told = sum(len(telling.job.writer.records) for telling in tellings)
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
