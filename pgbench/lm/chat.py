"""A conversation as the model's own chat template writes it, one turn after another.

What the policy is shown in turn k + 1 is what it was shown in turn k, the tokens that it sampled
there, as they were sampled, and what the template puts between that response and the next: the
rest of the mark that ends a turn, the environment's words, and whose turn it is. A response that
ended by the template's own mark is followed by what comes after the mark (the newline of ChatML),
one that was cut off or ended otherwise by the whole mark.

For a template that repeats earlier turns as they were, that is the template's text of the whole
conversation. Others rewrite them: they strip blanks, leave out what was thought (`<think>`), or
have something in the last prompt alone. There the sampled tokens stay in the place of the
template's, since only they are what the policy is trained on, and what is put between is the
template's all the same: it is taken from a conversation whose response is a word that no template
touches.

Where a template knows no system message, the words of one head the first message of the user.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pgbench.errors import PgbenchError
from pgbench.worlds.tasks import Message

ANSWER = "\ue000answer\ue000"  # of the private use area: in no template, and nothing to strip


def chat_text(tokenizer: Any, talk: Sequence[Message]) -> str:
    """The template's text of a conversation, up to where the model goes on.

    Raises: PgbenchError if the template refuses it, a system message heading the user's too.
    """
    said = [{"role": m.role, "content": m.content} for m in talk]
    forms = [said]
    if [m["role"] for m in said[:2]] == ["system", "user"]:
        head = f"{said[0]['content']}\n\n{said[1]['content']}"
        forms.append([{"role": "user", "content": head}, *said[2:]])
    for form in forms:
        try:
            text: str = tokenizer.apply_chat_template(
                form, tokenize=False, add_generation_prompt=True
            )
            return text
        except Exception as error:  # a template may raise whatever it likes
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    roles = ", ".join(m["role"] for m in said)
    raise PgbenchError(
        f"the model's chat template refuses a conversation of {roles}: {reason}; give a prompt "
        "that it takes, or --set env.chat=false"
    )


def chat_between(
    tokenizer: Any, talk: Sequence[Message], reply: Message, last: int | None
) -> list[int]:
    """Token ids that the template puts after the last response of `talk`, with the `reply` in them.

    `last` is the response's last token if that ends a text, None for a response that was cut off.

    Raises: PgbenchError if the template leaves out or repeats responses, or refuses them.
    """
    text = chat_text(tokenizer, [*talk[:-1], Message("assistant", ANSWER), reply])
    if text.count(ANSWER) != 1:
        raise PgbenchError(
            "the model's chat template does not show an earlier response, so that a conversation "
            "cannot be continued token by token; use --set env.turns=1"
        )
    text = text.partition(ANSWER)[2]
    if last is None:
        return _ids(tokenizer, text)
    mark = tokenizer.decode([last], skip_special_tokens=False)
    blank, found, rest = text.partition(mark)
    if not found or blank.strip():  # the model ended by another mark than the template's
        return _ids(tokenizer, text)
    # Behind the mark, since some tokenizers treat the beginning of a text in a way of its own.
    ids = _ids(tokenizer, mark + rest)
    return ids[1:] if ids[:1] == [last] else _ids(tokenizer, rest)


def _ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])
